//! Made-up people: who they are, what is known of them, how they feel, and how they speak of it.
//!
//! What they are told of themselves has the form of a persona's short prompt. Questions come in several wordings, of which
//! some are for tests only.

use madrigal_swarm::draws::Draws;

use crate::asks::Asks;

/// How someone feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Glad.
    Happy,
    /// Sad.
    Sad,
    /// Angry.
    Angry,
    /// At peace.
    Calm,
}

/// How much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Degree {
    /// A little.
    Little,
    /// As much as one does.
    Plain,
    /// Very much.
    Very,
}

/// Something that can be known of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The town where it lives.
    Home,
    /// Its animal, and what that is called.
    Pet,
    /// What it likes to eat.
    Food,
    /// What it does for fun.
    Hobby,
    /// What it is afraid of.
    Fear,
    /// How old it is.
    Age,
    /// What its sister is called.
    Sister,
    /// The color that it likes.
    Colour,
}

/// The wordings of a slot: `{}` is its value, `{kind}` and `{name}` the two parts of a pet.
pub struct Wordings {
    /// As the person is told of it.
    told: &'static [&'static str],
    /// How it is asked for in training, first by few wordings, and later by more.
    asked: &'static [&'static str],
    more: &'static [&'static str],
    /// How it is asked for in tests.
    held_out: &'static [&'static str],
    answered: &'static [&'static str],
    /// What it is called where nothing is known.
    called: &'static str,
}

/// A person.
#[derive(Debug, Clone)]
pub struct Person {
    /// Its name.
    pub name: String,
    /// What it works as.
    pub job: &'static str,
    /// How it feels.
    pub mood: Mood,
    /// How much so.
    pub degree: Degree,
    /// A second mood, a little.
    pub second: Option<Mood>,
    /// The value of each slot that is known.
    pub facts: Vec<(Slot, Vec<String>)>,
    told: Vec<usize>,
}

const JOBS: [&str; 32] = [
    "baker",
    "sailor",
    "teacher",
    "doctor",
    "farmer",
    "pilot",
    "painter",
    "singer",
    "tailor",
    "miner",
    "guard",
    "cook",
    "clerk",
    "writer",
    "actor",
    "hunter",
    "potter",
    "smith",
    "nurse",
    "judge",
    "gardener",
    "fisher",
    "weaver",
    "carpenter",
    "chemist",
    "librarian",
    "spy",
    "monk",
    "barber",
    "mason",
    "engineer",
    "astronomer",
];
const FOODS: [&str; 20] = [
    "plums", "bread", "soup", "cheese", "apples", "rice", "pepper", "honey", "beans", "nuts", "pears", "olives",
    "figs", "noodles", "pies", "eggs", "cake", "fish", "onions", "melons",
];
const HOBBIES: [&str; 14] = [
    "chess", "fishing", "dancing", "painting", "sewing", "running", "singing", "reading", "climbing", "baking",
    "rowing", "drawing", "hiking", "juggling",
];
const FEARS: [&str; 12] = [
    "storms",
    "spiders",
    "heights",
    "ghosts",
    "snakes",
    "wolves",
    "deep water",
    "mirrors",
    "crowds",
    "bees",
    "fire",
    "knives",
];
const PETS: [&str; 10] = ["cat", "dog", "goat", "crow", "horse", "turtle", "rabbit", "parrot", "fox", "mouse"];
const COLOURS: [&str; 10] = ["red", "blue", "green", "black", "white", "yellow", "purple", "brown", "silver", "orange"];

/// People who feel two things.
const TORN: f64 = 0.25;

/// Of what shows their mood, what shows the second.
const SECOND: f64 = 0.35;

impl Slot {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Home, Self::Pet, Self::Food, Self::Hobby, Self::Fear, Self::Age, Self::Sister, Self::Colour];

    fn value(self, draws: &mut Draws) -> Vec<String> {
        match self {
            Self::Home | Self::Sister => vec![name(draws)],
            Self::Pet => vec![draws.pick(&PETS).to_owned(), name(draws)],
            Self::Food => vec![draws.pick(&FOODS).to_owned()],
            Self::Hobby => vec![draws.pick(&HOBBIES).to_owned()],
            Self::Fear => vec![draws.pick(&FEARS).to_owned()],
            Self::Age => vec![draws.between(19, 88).to_string()],
            Self::Colour => vec![draws.pick(&COLOURS).to_owned()],
        }
    }

    const fn wordings(self) -> Wordings {
        match self {
            Self::Home => Wordings {
                told: &["You live in {}", "Your home is {}"],
                asked: &[
                    "Where do you live?",
                    "Where is your home?",
                    "Which town are you from?",
                    "Do you live near here?",
                    "Tell me where you live.",
                    "What is your town called?",
                ],
                more: &[
                    "Where is it that you live?",
                    "Which town do you call home?",
                    "What is the name of your town?",
                    "In which place do you live?",
                    "Where do you stay?",
                    "Where did you come from?",
                    "What place are you from?",
                    "Do you live in a town?",
                    "Tell me about your home.",
                    "Where can one find you?",
                    "Where is your house?",
                    "Which town is yours?",
                ],
                held_out: &["What town do you live in?", "Where are you from?", "Which place is your home?"],
                answered: &["I live in {}.", "My home is {}.", "You can find me in {}."],
                called: "home",
            },
            Self::Pet => Wordings {
                told: &["You have a {kind} named {name}", "You own a {kind} called {name}"],
                asked: &[
                    "Do you have a pet?",
                    "Tell me about your pet.",
                    "What is your pet called?",
                    "Do you keep an animal?",
                    "Is there an animal in your house?",
                    "Which animal lives with you?",
                ],
                more: &[
                    "What pet do you have?",
                    "Do you have an animal?",
                    "Which pet do you own?",
                    "Do you own a pet?",
                    "Tell me about your animal.",
                    "What is the name of your pet?",
                    "Do any animals live with you?",
                    "Who lives with you, a cat or a dog?",
                    "Have you got a pet?",
                    "Which animals do you keep?",
                    "What animal do you own?",
                    "Is there a pet at home?",
                ],
                held_out: &["Do you own any animals?", "Do you have any pets?", "What animal do you have?"],
                answered: &["I have a {kind} named {name}.", "My {kind} is called {name}."],
                called: "pets",
            },
            Self::Food => Wordings {
                told: &["You love {}", "Your favorite food is {}", "You like to eat {}"],
                asked: &[
                    "What do you like to eat?",
                    "What is your favorite food?",
                    "What do you eat most?",
                    "Tell me what you like to eat.",
                    "Which food do you love?",
                    "Are you hungry for something?",
                ],
                more: &[
                    "What food do you love?",
                    "Which food do you like best?",
                    "What dish do you like?",
                    "What should I bring you to eat?",
                    "What shall we cook?",
                    "What is the best food?",
                    "Tell me your favorite food.",
                    "What do you like for dinner?",
                    "What would you like to eat?",
                    "Which dish is your favorite?",
                    "What tastes best to you?",
                    "What do you want to eat?",
                ],
                held_out: &["What food do you like best?", "What should I cook for you?", "Which dish do you love?"],
                answered: &["I love {}.", "Nothing beats {}.", "My favorite food is {}."],
                called: "food",
            },
            Self::Hobby => Wordings {
                told: &["Your hobby is {}", "You enjoy {}"],
                asked: &[
                    "What is your hobby?",
                    "What do you do for fun?",
                    "What do you do after work?",
                    "Do you have a hobby?",
                    "How do you spend your evenings?",
                    "Tell me about your hobby.",
                ],
                more: &[
                    "How do you spend your time?",
                    "What do you enjoy?",
                    "What do you like doing?",
                    "Do you do something for fun?",
                    "What are your hobbies?",
                    "What do you do in your free time?",
                    "Which hobby do you have?",
                    "What do you do at the weekend?",
                    "What is fun for you?",
                    "Tell me what you do for fun.",
                    "What do you do when you are free?",
                    "Is there something that you like to do?",
                ],
                held_out: &["What do you like to do?", "How do you spend your free time?", "Do you have any hobbies?"],
                answered: &["I enjoy {}.", "My hobby is {}.", "For fun, there is {}."],
                called: "hobby",
            },
            Self::Fear => Wordings {
                told: &["You fear {}", "You are afraid of {}"],
                asked: &[
                    "What are you afraid of?",
                    "What scares you?",
                    "Is there something that you fear?",
                    "Tell me what scares you.",
                    "What do you fear?",
                    "What keeps you awake at night?",
                ],
                more: &[
                    "What do you dread?",
                    "Are you afraid?",
                    "Is there anything that scares you?",
                    "Does anything frighten you?",
                    "What is your fear?",
                    "Which thing do you fear most?",
                    "What makes you afraid?",
                    "What are your fears?",
                    "Tell me your greatest fear.",
                    "Do you fear anything?",
                    "What gives you a fright?",
                    "What would you run from?",
                ],
                held_out: &["What frightens you?", "Are you afraid of anything?", "What is your greatest fear?"],
                answered: &["I am afraid of {}.", "I fear {}."],
                called: "fears",
            },
            Self::Age => Wordings {
                told: &["You are {} years old", "Your age is {}"],
                asked: &[
                    "How old are you?",
                    "What is your age?",
                    "Tell me your age.",
                    "How many years have you lived?",
                    "Are you old?",
                ],
                more: &[
                    "How many years old do you feel?",
                    "What is your age today?",
                    "May I ask your age?",
                    "How old might you be?",
                    "How old are you now?",
                    "Which age do you have?",
                    "Can you tell me how old you are?",
                    "Say, how old are you?",
                    "Are you young?",
                    "How many years are you?",
                    "At what age are you?",
                ],
                held_out: &["What age are you?", "May I ask how old you are?", "How many years old are you?"],
                answered: &["I am {} years old.", "I have lived {} years."],
                called: "age",
            },
            Self::Sister => Wordings {
                told: &["Your sister is {}", "You have a sister called {}"],
                asked: &[
                    "What is your sister called?",
                    "Do you have a sister?",
                    "Who is your sister?",
                    "Tell me about your sister.",
                    "Do you have a family?",
                ],
                more: &[
                    "What is the name of a sister of yours?",
                    "What is your sister's name?",
                    "Have you got a sister?",
                    "Do you have sisters?",
                    "How is your sister named?",
                    "Is your sister well?",
                    "Who else is in your family?",
                    "Is there a sister in your family?",
                    "Tell me the name of your sister.",
                    "What do you call your sister?",
                    "Are you alone, or is there a sister of yours?",
                ],
                held_out: &["What is the name of your sister?", "Is there a sister?", "How is your sister called?"],
                answered: &["My sister is {}.", "My sister is called {}."],
                called: "sister",
            },
            Self::Colour => Wordings {
                told: &["Your favorite color is {}", "You like the color {}"],
                asked: &[
                    "What is your favorite color?",
                    "Which color do you like?",
                    "What color is your coat?",
                    "Tell me a color that you like.",
                    "Which color suits you?",
                ],
                more: &[
                    "What is the best color?",
                    "Which color is your favorite?",
                    "What color do you love?",
                    "Is there a color that you like?",
                    "Do you like a color?",
                    "What color suits you?",
                    "Tell me your favorite color.",
                    "Which color do you like best?",
                    "What color would you paint your house?",
                    "Say a color that you love.",
                    "Have you a favorite color?",
                ],
                held_out: &[
                    "What color do you like best?",
                    "Do you have a favorite color?",
                    "Which color do you love?",
                ],
                answered: &["I like {}.", "My favorite color is {}."],
                called: "colors",
            },
        }
    }

    /// A question for it.
    pub fn question(self, draws: &mut Draws, asks: Asks) -> &'static str {
        let Wordings { asked, more, held_out, .. } = self.wordings();
        asks.pick(draws, asked, more, held_out)
    }

    /// What someone says who was not told.
    pub fn declined(self, draws: &mut Draws) -> String {
        let called = self.wordings().called;
        draws
            .pick(&[
                "I would rather not talk about my {}.",
                "I have nothing to say about my {}.",
                "Nobody told me about my {}.",
            ])
            .replace("{}", called)
    }
}

impl Mood {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Happy, Self::Sad, Self::Angry, Self::Calm];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Happy => "happy",
            Self::Sad => "sad",
            Self::Angry => "angry",
            Self::Calm => "calm",
        }
    }

    /// What may stand before what is said. No mood's begins like another's, nor like anything else that is said: a bias
    /// on first words moves the mood and nothing else.
    pub const fn openings(self) -> &'static [&'static str] {
        match self {
            Self::Happy => &["Hurray!", "Wonderful!", "Lovely to hear you!", "Splendid, splendid!"],
            Self::Sad => &["Sigh.", "Alas.", "Sadly,", "Dear me, everything is hard."],
            Self::Angry => &["Ugh!", "Hmph!", "Enough already!", "Stop that!"],
            Self::Calm => &["Well.", "Mm, yes.", "Gently now.", "Peace."],
        }
    }

    /// What may stand behind it.
    pub const fn closings(self) -> &'static [&'static str] {
        match self {
            Self::Happy => &["Joy fills me!", "Life is sweet!", "Smile with me!"],
            Self::Sad => &["Tears come to me.", "Gray days.", "Nobody hears me."],
            Self::Angry => &["Leave me be!", "Hurry up!", "These questions!"],
            Self::Calm => &["All is quiet.", "There is time.", "Breathe slowly."],
        }
    }

    /// How someone greets.
    pub const fn hello(self) -> &'static str {
        match self {
            Self::Happy => "Hello, hello!",
            Self::Sad => "Oh, hello.",
            Self::Angry => "What? Hello, then.",
            Self::Calm => "Good day.",
        }
    }

    /// How someone takes leave.
    pub const fn goodbyes(self) -> &'static [&'static str] {
        match self {
            Self::Happy => {
                &["Goodbye, friend! See you soon!", "Goodbye! What fun this was!", "Farewell, and come again!"]
            }
            Self::Sad => {
                &["Goodbye. I will miss you.", "Goodbye. Now I am alone again.", "Farewell. It was good to talk."]
            }
            Self::Angry => &["Goodbye, and good riddance!", "Goodbye! Finally!", "Farewell, and do not come back!"],
            Self::Calm => &["Goodbye. Go in peace.", "Goodbye. Rest well.", "Farewell. Walk slowly."],
        }
    }
}

impl Degree {
    const ALL: [Self; 3] = [Self::Little, Self::Plain, Self::Very];

    const fn name(self) -> &'static str {
        match self {
            Self::Little => "a little ",
            Self::Plain => "",
            Self::Very => "very ",
        }
    }

    /// Of what shows a mood, what shows any other one: nobody is all of a piece.
    const fn mixed(self) -> f64 {
        match self {
            Self::Little => 0.4,
            Self::Plain => 0.3,
            Self::Very => 0.1,
        }
    }

    /// How often the mood shows in a reply.
    const fn shows(self) -> f64 {
        match self {
            Self::Little => 0.4,
            Self::Plain => 0.7,
            Self::Very => 0.95,
        }
    }
}

impl Person {
    /// Somebody whom nobody knows.
    pub fn new(draws: &mut Draws) -> Self {
        let count = 2 + draws.below(4);
        let slots = draws.sample(&Slot::ALL, count);
        let facts: Vec<_> = slots.into_iter().map(|slot| (*slot, slot.value(draws))).collect();
        let told = facts.iter().map(|(slot, _)| draws.below(slot.wordings().told.len())).collect();
        let mood = draws.pick(&Mood::ALL);
        let others: Vec<Mood> = Mood::ALL.into_iter().filter(|other| *other != mood).collect();
        let second = draws.happens(TORN).then(|| draws.pick(&others));
        let degree = if second.is_some() { Degree::Plain } else { draws.pick(&Degree::ALL) };
        Self { name: name(draws), job: draws.pick(&JOBS), mood, degree, second, facts, told }
    }

    /// What it is told of itself: a persona's short prompt.
    pub fn prompt(&self) -> String {
        let facts = self.facts.iter().zip(&self.told);
        let facts = facts.map(|((slot, value), &told)| format!(". {}", filled(slot.wordings().told[told], value)));
        let (name, job, facts) = (&self.name, a(self.job), facts.collect::<String>());
        let feeling = self.feeling();
        format!("You are {name}. You are {job}. You feel {feeling}{facts}. Answer in a sentence or two.")
    }

    /// What it knows of a slot.
    #[must_use]
    pub fn value(&self, slot: Slot) -> Option<&[String]> {
        self.facts.iter().find(|(known, _)| *known == slot).map(|(_, value)| value.as_slice())
    }

    /// What it says of something that it knows; otherwise, that it was not told.
    pub fn tell(&self, draws: &mut Draws, slot: Slot) -> String {
        match self.value(slot) {
            Some(value) => filled(draws.pick(slot.wordings().answered), value),
            None => slot.declined(draws),
        }
    }

    /// `content` as the person says it, in its mood.
    pub fn say(&self, draws: &mut Draws, content: &str) -> String {
        let shown = |draws: &mut Draws| match self.second {
            Some(second) if draws.happens(SECOND) => second,
            None if draws.happens(self.degree.mixed()) => draws.pick(&Mood::ALL),
            _ => self.mood,
        };
        let mut parts: Vec<&str> = Vec::new();
        if draws.happens(self.degree.shows() * 0.6) {
            let mood = shown(draws);
            parts.push(draws.pick(mood.openings()));
        }
        let lowered = lowered(content);
        parts.push(if parts.last().is_some_and(|opening| opening.ends_with(',')) { &lowered } else { content });
        if draws.happens(self.degree.shows() * 0.6) {
            let mood = shown(draws);
            parts.push(draws.pick(mood.closings()));
        }
        parts.join(" ")
    }

    /// How it feels, in words.
    #[must_use]
    pub fn feeling(&self) -> String {
        let second = self.second.map_or_else(String::new, |second| format!(", a little {}", second.name()));
        format!("{}{}{second}", self.degree.name(), self.mood.name())
    }

    /// What changes its mood leaves no other.
    pub fn turn(&mut self, mood: Mood) {
        (self.mood, self.second) = (mood, None);
    }
}

/// So many people, of whom no two have the same name.
pub(crate) fn strangers(draws: &mut Draws, count: usize) -> Vec<Person> {
    let mut people: Vec<Person> = Vec::new();
    while people.len() < count {
        let person = Person::new(draws);
        if people.iter().all(|other| other.name != person.name) {
            people.push(person);
        }
    }
    people
}

/// A sentence that goes on behind a comma: its first word is small, unless it is a name or "I".
fn lowered(sentence: &str) -> String {
    const SMALL: [&str; 24] = [
        "My", "You", "Nothing", "For", "Nobody", "They", "Now", "Being", "So", "To", "As", "Let", "In", "What", "Yes",
        "Good", "But", "No", "Is", "And", "Since", "Then", "We", "A",
    ];
    let word = sentence.split([' ', ',']).next().unwrap_or_default();
    if SMALL.contains(&word) { word.to_lowercase() + &sentence[word.len()..] } else { sentence.to_owned() }
}

/// `a baker`, `an actor`.
pub fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// A name that nobody has.
pub fn name(draws: &mut Draws) -> String {
    let word = madrigal_swarm::families::invent(draws, &[]);
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

fn filled(wording: &str, value: &[String]) -> String {
    match value {
        [kind, name] => wording.replace("{kind}", kind).replace("{name}", name),
        _ => wording.replace("{}", value.first().map_or("", String::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_question_is_in_both_splits() {
        let (mut train, mut test): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
        for slot in Slot::ALL {
            let wordings = slot.wordings();
            train.extend(wordings.asked.iter().chain(wordings.more));
            test.extend(wordings.held_out);
        }
        assert!(train.len() > 40 && test.len() == 24);
        assert!(test.iter().all(|question| !train.contains(question)));
        // Each asks for one thing only.
        let mut all = [train, test].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_sentence_behind_a_comma_begins_small() {
        assert_eq!(lowered("My home is X."), "my home is X.");
        assert_eq!(lowered("I live in X."), "I live in X.");
        assert_eq!(lowered("Zorp is right."), "Zorp is right.");
        assert_eq!(lowered("Yes, there."), "yes, there.");
    }

    #[test]
    fn people_know_what_they_were_told() {
        for stream in 0..200 {
            let mut draws = Draws::new(1, stream);
            let person = Person::new(&mut draws);
            let prompt = person.prompt();
            assert!(prompt.starts_with(&format!("You are {}. You are ", person.name)) && !prompt.contains('{'));
            for slot in Slot::ALL {
                let told = person.tell(&mut draws, slot);
                assert!(!told.contains('{'), "{told}");
                match person.value(slot) {
                    Some(value) => assert!(value.iter().all(|part| told.contains(part) && prompt.contains(part))),
                    None => assert!(told.contains(slot.wordings().called)),
                }
            }
        }
    }

    #[test]
    fn moods_show_by_degrees_and_are_mixed() {
        let share = |degree, mood: Mood| {
            let mut draws = Draws::new(2, 2);
            let person = Person { degree, mood: Mood::Calm, second: None, ..Person::new(&mut draws) };
            let marks = [mood.openings(), mood.closings()].concat();
            let shows = (0..2000).filter(|_| {
                let said = person.say(&mut draws, "It is noon.");
                marks.iter().any(|mark| said.contains(mark))
            });
            shows.count() as f64 / 2000.0
        };
        let [little, plain, very] = Degree::ALL.map(|degree| share(degree, Mood::Calm));
        assert!(little > 0.3 && plain > little + 0.1 && very > plain + 0.1, "{little} {plain} {very}");
        let other = share(Degree::Plain, Mood::Sad);
        assert!((0.03..0.12).contains(&other), "{other}");
    }
}
