//! Where guests get their seats: rooms that fill up, secrets, names, and tokens that take a seat again.
//!
//! Owns who sits where. A room that is full goes to whoever holds its meeting. Tokens come from outside, for they must be
//! such that nobody can guess them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;

use crate::connection::{Guest, Host, Refusal, Seated};
use crate::frame::ErrorCode;
use crate::line::{Line, News};

/// The longest name at the table, in characters.
const MAX_NAME_CHARS: usize = 80;

/// How long whoever gives a wrong secret or token waits for the answer.
const DELAY: Duration = Duration::from_secs(1);

/// What a hall is like.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Doors: a room has seats behind each of them.
    pub doors: usize,
    /// Seats of a room behind each door.
    pub seats: usize,
    /// Meetings at once, and rooms that wait for guests among them.
    pub rooms: usize,
    /// What everyone has to know.
    pub secret: Option<String>,
}

/// A room whose seats are all taken.
#[derive(Debug)]
pub struct Room {
    /// Its name, where somebody asked for one.
    pub name: Option<String>,
    /// Its number, from 0.
    pub number: u64,
    /// Who sits there, door after door.
    pub members: Vec<Member>,
}

/// Someone at a seat.
#[derive(Debug)]
pub struct Member {
    /// The name at the table.
    pub name: String,
    /// Who it is.
    pub guest: Guest,
    /// What takes the seat again.
    pub token: String,
    /// The line of the seat.
    pub line: Line,
    /// What the seat hears of it.
    pub news: mpsc::UnboundedReceiver<News>,
}

/// A hall with its rooms.
pub struct Hall {
    rules: Rules,
    tokens: Box<dyn Fn() -> String + Send + Sync>,
    full: mpsc::UnboundedSender<Room>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Rooms that wait for guests, the one that waits longest first.
    waiting: Vec<Waiting>,
    /// Seats that are taken, by their tokens.
    seats: HashMap<String, (String, Line)>,
    /// Meetings that are held.
    held: usize,
    rooms: u64,
}

struct Waiting {
    name: Option<String>,
    number: u64,
    seats: Vec<Option<Member>>,
}

/// A door of a hall: guests who come through it get seats behind it.
#[derive(Clone)]
pub struct Door {
    hall: Arc<Hall>,
    number: usize,
}

impl Hall {
    /// An empty hall, and where its full rooms go.
    #[must_use]
    pub fn new(
        rules: Rules,
        tokens: impl Fn() -> String + Send + Sync + 'static,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Room>) {
        let (full, rooms) = mpsc::unbounded_channel();
        (Arc::new(Self { rules, tokens: Box::new(tokens), full, state: Mutex::default() }), rooms)
    }

    /// Its doors.
    #[must_use]
    pub fn doors(self: &Arc<Self>) -> Vec<Door> {
        (0..self.rules.doors).map(|number| Door { hall: Arc::clone(self), number }).collect()
    }

    /// A meeting is over: its tokens take no seat any more, and there is room for another one.
    pub fn close<'a>(&self, tokens: impl IntoIterator<Item = &'a str>) {
        let mut state = self.state();
        for token in tokens {
            state.seats.remove(token);
        }
        state.held = state.held.saturating_sub(1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(&self, door: usize, mut guest: Guest) -> Result<Seated, Refusal> {
        let refuse = |code, text: &str| Err(Refusal { code, text: text.to_owned() });
        if let Some(expected) = &self.rules.secret
            && !guest.secret.as_deref().is_some_and(|secret| is_same(secret, expected))
        {
            return refuse(ErrorCode::Secret, "the secret is missing or wrong");
        }
        // Nobody needs to keep it.
        guest.secret = None;
        let mut state = self.state();
        if let Some(token) = guest.resume.take() {
            return match state.seats.get(&token) {
                Some((name, line)) => Ok(Seated { name: name.clone(), token, line: line.clone() }),
                None => refuse(ErrorCode::Resume, "no seat belongs to this token; the meeting may be over"),
            };
        }
        let name = guest.name.as_deref().map_or("Guest", str::trim);
        let name: String = name.chars().filter(|c| !c.is_control()).collect();
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS {
            return refuse(ErrorCode::Name, "a name has 1 to 80 characters");
        }
        state.clear_left();
        let Some(index) = self.room(&mut state, door, guest.room.as_deref()) else {
            return refuse(ErrorCode::Full, "all seats are taken");
        };
        let token = (self.tokens)();
        let (line, news) = Line::new();
        let waiting = &mut state.waiting[index];
        let name = waiting.free_name(&name);
        let member = Member { name: name.clone(), guest, token: token.clone(), line: line.clone(), news };
        if let Some(seat) = waiting.free_seat(door, self.rules.seats) {
            waiting.seats[seat] = Some(member);
        }
        state.seats.insert(token.clone(), (name.clone(), line.clone()));
        if state.waiting[index].seats.iter().all(Option::is_some) {
            let Waiting { name, number, seats } = state.waiting.remove(index);
            state.held += 1;
            // Without anyone to hold meetings the program ends.
            let _ = self.full.send(Room { name, number, members: seats.into_iter().flatten().collect() });
        }
        Ok(Seated { name, token, line })
    }

    /// The room with a free seat behind a door that has waited longest, or a new one.
    fn room(&self, state: &mut State, door: usize, name: Option<&str>) -> Option<usize> {
        let fits = |waiting: &Waiting| {
            (name.is_none() || waiting.name.as_deref() == name) && waiting.free_seat(door, self.rules.seats).is_some()
        };
        if let Some(index) = state.waiting.iter().position(fits) {
            return Some(index);
        }
        if state.held + state.waiting.len() >= self.rules.rooms {
            return None;
        }
        let seats = (0..self.rules.doors * self.rules.seats).map(|_| None).collect();
        state.waiting.push(Waiting { name: name.map(str::to_owned), number: state.rooms, seats });
        state.rooms += 1;
        Some(state.waiting.len() - 1)
    }
}

impl State {
    /// Whoever leaves before the meeting begins gives its seat up.
    fn clear_left(&mut self) {
        let seats = self.waiting.iter_mut().flat_map(|waiting| &mut waiting.seats);
        for seat in seats {
            if seat.as_ref().is_some_and(|member| member.line.has_left())
                && let Some(member) = seat.take()
            {
                self.seats.remove(&member.token);
            }
        }
        self.waiting.retain(|waiting| waiting.seats.iter().any(Option::is_some));
    }
}

impl Waiting {
    /// A free seat behind a door.
    fn free_seat(&self, door: usize, seats: usize) -> Option<usize> {
        (door * seats..(door + 1) * seats).find(|seat| self.seats.get(*seat).is_some_and(Option::is_none))
    }

    /// The name, with a number behind it where somebody has it already.
    fn free_name(&self, wanted: &str) -> String {
        let is_taken =
            |name: &str| self.seats.iter().flatten().any(|member| member.name.to_lowercase() == name.to_lowercase());
        let numbered = (2..).map(|number| format!("{wanted} {number}"));
        std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !is_taken(name)).unwrap_or_default()
    }
}

/// Whether two secrets are the same, in a time that tells nothing of how much of them is, nor how long they are.
fn is_same(one: &str, other: &str) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}

impl Host for Door {
    fn seat<'a>(&'a self, guest: Guest) -> BoxFuture<'a, Result<Seated, Refusal>> {
        async move {
            let admitted = self.hall.admit(self.number, guest);
            if let Err(Refusal { code: ErrorCode::Secret | ErrorCode::Resume, .. }) = admitted {
                tokio::time::sleep(DELAY).await;
            }
            admitted
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::Instant;

    use super::*;
    use crate::connection::Manner;

    fn hall(rules: Rules) -> (Arc<Hall>, mpsc::UnboundedReceiver<Room>) {
        let count = AtomicU64::new(0);
        Hall::new(rules, move || format!("token {}", count.fetch_add(1, Ordering::Relaxed)))
    }

    fn two_doors(rooms: usize) -> Rules {
        Rules { doors: 2, seats: 1, rooms, secret: None }
    }

    fn guest(name: &str) -> Guest {
        Guest::new(Manner::Frames, Some(name.to_owned()))
    }

    /// Someone who takes its seat and stays.
    fn join(seated: &Seated) -> (crate::line::Connection, mpsc::Receiver<crate::line::ToAgent>) {
        let (link, out) = mpsc::channel(4);
        (seated.line.join(link, 0), out)
    }

    #[tokio::test]
    async fn a_room_that_is_full_goes_to_its_meeting() {
        let (hall, mut rooms) = hall(two_doors(2));
        let doors = hall.doors();
        let ada = doors[0].seat(guest("Ada")).await.unwrap();
        let _ada = join(&ada);
        assert!(rooms.try_recv().is_err());
        // The next one behind the same door waits in another room; a third has no room left.
        let bob = doors[0].seat(guest("Bob")).await.unwrap();
        let _bob = join(&bob);
        assert_eq!(doors[0].seat(guest("Cy")).await.unwrap_err().code, ErrorCode::Full);
        let dan = doors[1].seat(guest("ada")).await.unwrap();
        assert_eq!(dan.name, "ada 2");
        let room = rooms.try_recv().unwrap();
        let names: Vec<&str> = room.members.iter().map(|member| member.name.as_str()).collect();
        assert_eq!((room.number, names), (0, vec!["Ada", "ada 2"]));
        // Only its end makes room for another one.
        let _eve = doors[1].seat(guest("Eve")).await.unwrap();
        assert_eq!(rooms.try_recv().unwrap().number, 1);
        assert_eq!(doors[0].seat(guest("Cy")).await.unwrap_err().code, ErrorCode::Full);
        hall.close(room.members.iter().map(|member| member.token.as_str()));
        assert_eq!(doors[0].seat(guest("Cy")).await.unwrap().name, "Cy");
    }

    #[tokio::test]
    async fn guests_meet_in_the_room_that_they_name() {
        let (hall, mut rooms) = hall(two_doors(9));
        let doors = hall.doors();
        let named = |name: &str, room: &str| Guest { room: Some(room.to_owned()), ..guest(name) };
        for (door, name, room) in [(0, "A", "red"), (0, "B", "blue"), (1, "C", "blue"), (1, "D", "red")] {
            join(&doors[door].seat(named(name, room)).await.unwrap());
        }
        for expected in ["blue", "red"] {
            let room = rooms.try_recv().unwrap();
            assert_eq!(room.name.as_deref(), Some(expected));
        }
    }

    #[tokio::test]
    async fn who_leaves_before_the_meeting_gives_its_seat_up_and_who_leaves_later_keeps_it() {
        let (hall, mut rooms) = hall(two_doors(1));
        let doors = hall.doors();
        let ada = doors[0].seat(guest("Ada")).await.unwrap();
        let (connection, _out) = join(&ada);
        ada.line.leave(connection);
        let again = |token: &str| Guest { resume: Some(token.to_owned()), ..guest("Ada") };
        assert_eq!(doors[0].seat(again(&ada.token)).await.unwrap().name, "Ada", "while nobody else wants it");
        let bob = doors[0].seat(guest("Bob")).await.unwrap();
        let (connection, _out) = join(&bob);
        assert_eq!(doors[0].seat(again(&ada.token)).await.unwrap_err().code, ErrorCode::Resume);
        join(&doors[1].seat(guest("Cy")).await.unwrap());
        let room = rooms.try_recv().unwrap();
        bob.line.leave(connection);
        assert_eq!(doors[0].seat(again(&bob.token)).await.unwrap().name, "Bob");
        hall.close(room.members.iter().map(|member| member.token.as_str()));
        assert_eq!(doors[0].seat(again(&bob.token)).await.unwrap_err().code, ErrorCode::Resume);
    }

    #[tokio::test(start_paused = true)]
    async fn secrets_and_tokens_cannot_be_guessed_quickly() {
        let (hall, _rooms) = hall(Rules { secret: Some("open sesame".to_owned()), ..two_doors(9) });
        let door = hall.doors().remove(0);
        let knows = |secret: Option<&str>| Guest { secret: secret.map(str::to_owned), ..guest("Ada") };
        for wrong in [None, Some(""), Some("open sesam"), Some("open sesame ")] {
            let started = Instant::now();
            assert_eq!(door.seat(knows(wrong)).await.unwrap_err().code, ErrorCode::Secret);
            assert_eq!(started.elapsed(), DELAY);
        }
        let started = Instant::now();
        let seated = door.seat(knows(Some("open sesame"))).await.unwrap();
        assert_eq!(started.elapsed(), Duration::ZERO);
        // A token alone is not enough.
        let resume = Guest { resume: Some(seated.token.clone()), ..knows(None) };
        assert_eq!(door.seat(resume).await.unwrap_err().code, ErrorCode::Secret);
    }

    #[tokio::test]
    async fn names_are_for_people_to_read() {
        let (hall, _rooms) = hall(two_doors(9));
        let door = hall.doors().remove(0);
        for wrong in ["", "  ", "\u{1b}\u{7}", &"x".repeat(81)] {
            assert_eq!(door.seat(guest(wrong)).await.unwrap_err().code, ErrorCode::Name, "{wrong:?}");
        }
        assert_eq!(door.seat(guest(" A\u{1b}da ")).await.unwrap().name, "Ada");
        let nameless = Guest { name: None, ..guest("") };
        assert_eq!(door.seat(nameless).await.unwrap().name, "Guest");
    }
}
