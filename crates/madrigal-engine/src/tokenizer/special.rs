//! The tokens with a role: what templates call them, and which of them end a generation.

use super::vocabulary::Vocabulary;

/// The texts of the special tokens by role, as chat templates see them (`bos_token`, `eos_token` …). A role that the
/// model does not fill is undefined in the template, as in transformers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a text.
    pub bos: Option<String>,
    /// Ends a text.
    pub eos: Option<String>,
    /// Stands for what has no token.
    pub unk: Option<String>,
    /// Separates texts.
    pub sep: Option<String>,
    /// Fills up batches.
    pub pad: Option<String>,
    /// Stands for the class of a text.
    pub cls: Option<String>,
    /// Stands for a hidden token.
    pub mask: Option<String>,
}

impl SpecialTokens {
    /// The roles that are filled, by the names that templates use.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let roles = [
            ("bos_token", &self.bos),
            ("eos_token", &self.eos),
            ("unk_token", &self.unk),
            ("sep_token", &self.sep),
            ("pad_token", &self.pad),
            ("cls_token", &self.cls),
            ("mask_token", &self.mask),
        ];
        roles.into_iter().filter_map(|(name, text)| text.as_deref().map(|text| (name, text)))
    }

    /// The roles in the order of [`SpecialTokens::iter`], with the word that GGUF keys and `tokenizer_config.json`
    /// build their names from.
    pub(super) fn slots(&mut self) -> [(&'static str, &mut Option<String>); 7] {
        [
            ("bos", &mut self.bos),
            ("eos", &mut self.eos),
            ("unk", &mut self.unk),
            ("sep", &mut self.sep),
            ("pad", &mut self.pad),
            ("cls", &mut self.cls),
            ("mask", &mut self.mask),
        ]
    }
}

/// Texts that end a turn or a text in every model that has them as control tokens. Model files name one or two of
/// theirs; a model may stop with any.
const ENDS: [&str; 11] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
];

/// The ids that end a generation: the model's own first, then the well-known ones.
pub(super) fn end_of_generation(vocabulary: &Vocabulary, own: &[u32]) -> Vec<u32> {
    // In the harmony format (gpt-oss) `<|end|>` closes a message that another one may follow.
    let harmony = ["<|return|>", "<|call|>"].iter().all(|text| vocabulary.id_of(text).is_some());
    let known = ENDS
        .iter()
        .filter(|text| !(harmony && **text == "<|end|>"))
        .filter_map(|text| vocabulary.id_of(text))
        .filter(|&id| vocabulary.get(id).is_some_and(|token| token.kind.is_control()));
    let mut ids = Vec::new();
    for id in own.iter().copied().chain(known) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}
