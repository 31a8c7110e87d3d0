//! Full-text search over names and descriptions: an inverted index in memory.
//!
//! Templates are few (see [`limits::TEMPLATES_MAX`]), so that the index is made in milliseconds and thrown
//! away with the next change: docs/adr/0006-search-in-memory.md.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
#[cfg(doc)]
use bravo_model::limits;
use bravo_model::template::Template;
use bravo_model::{Code, Refusal};
use serde::{Deserialize, Serialize};

/// How much a further occurrence of a word counts less than the one before (BM25's k1).
const SATURATION: f64 = 1.2;
/// How much a word counts less in a long text (BM25's b).
const LENGTH: f64 = 0.75;
/// What a word in the name is worth: more than any number of words in a description.
const IN_NAME: u32 = 1_000_000;

/// All templates at one moment, and where each word is.
#[derive(Default)]
pub(super) struct Index {
    /// How many changes the templates had.
    pub(super) changes: u64,
    /// By name.
    templates: Vec<Template>,
    words: BTreeMap<String, Vec<Posting>>,
    /// Words of each template.
    lengths: Vec<f64>,
    mean_length: f64,
}

/// A word in one template.
#[derive(Clone, Copy, Default)]
struct Posting {
    template: usize,
    times: u32,
    in_name: bool,
}

/// Where a page ends: behind a template with this rank.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    score: u32,
    name: String,
}

impl Position {
    pub(super) fn decode(cursor: &str) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let position = bytes.and_then(|bytes| postcard::from_bytes(&bytes).ok());
        position.ok_or_else(|| Refusal::new(Code::InvalidArgument, "cursor: not one of this list"))
    }

    pub(super) fn encode(&self) -> String {
        postcard::to_stdvec(self).map(|bytes| URL_SAFE_NO_PAD.encode(bytes)).unwrap_or_default()
    }
}

impl Index {
    /// Over templates in the order of their names.
    pub(super) fn new(changes: u64, templates: Vec<Template>) -> Self {
        let mut words: BTreeMap<String, Vec<Posting>> = BTreeMap::new();
        let mut lengths = Vec::with_capacity(templates.len());
        for (number, template) in templates.iter().enumerate() {
            let mut found: BTreeMap<String, Posting> = BTreeMap::new();
            let mut length = 0.0;
            for (text, in_name) in [(template.name.as_str(), true), (template.description.as_str(), false)] {
                for word in words_of(text) {
                    let posting = found.entry(word).or_insert(Posting { template: number, times: 0, in_name: false });
                    posting.times += 1;
                    posting.in_name |= in_name;
                    length += 1.0;
                }
            }
            lengths.push(length);
            for (word, posting) in found {
                words.entry(word).or_default().push(posting);
            }
        }
        let mean_length = lengths.iter().sum::<f64>() / (lengths.len().max(1) as f64);
        Self { changes, templates, words, lengths, mean_length }
    }

    /// Up to `limit` templates behind `after`, and where the next page starts.
    pub(super) fn page(
        &self,
        words: &str,
        after: Option<&Position>,
        limit: usize,
    ) -> (Vec<&Template>, Option<Position>) {
        let rank = |score: u32, name: &str| (std::cmp::Reverse(score), name.to_owned());
        let after = after.map(|after| rank(after.score, &after.name));
        let mut found = self.scores(words);
        found.retain(|(score, number)| {
            after.as_ref().is_none_or(|after| rank(*score, self.templates[*number].name.as_str()) > *after)
        });
        // Numbers are in the order of names.
        found.sort_by_key(|(score, number)| (std::cmp::Reverse(*score), *number));
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more);
        let next =
            last.map(|(score, number)| Position { score: *score, name: self.templates[*number].name.to_string() });
        (found.into_iter().map(|(_, number)| &self.templates[number]).collect(), next)
    }

    /// The templates that have all the words; if there is none, those that have any. All, if nothing is asked.
    fn scores(&self, text: &str) -> Vec<(u32, usize)> {
        if text.trim().is_empty() {
            return (0..self.templates.len()).map(|number| (0, number)).collect();
        }
        let asked: Vec<String> = words_of(text).collect();
        let mut sums: BTreeMap<usize, (usize, u32, f64)> = BTreeMap::new();
        for (place, word) in asked.iter().enumerate() {
            let hits = self.hits(word, place + 1 == asked.len());
            let rarity = self.rarity(hits.len());
            for hit in hits.into_values() {
                let (matched, in_name, worth) = sums.entry(hit.template).or_default();
                *matched += 1;
                *in_name += u32::from(hit.in_name);
                *worth += rarity * self.frequency(hit);
            }
        }
        let most = sums.values().map(|(matched, ..)| *matched).max().unwrap_or(0);
        let wanted = if most == asked.len() { most } else { 1 };
        let score = |in_name: u32, worth: f64| {
            let worth = (worth * 1_000.0).clamp(0.0, f64::from(IN_NAME - 1));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
            in_name.saturating_mul(IN_NAME).saturating_add(worth as u32)
        };
        let enough = sums.into_iter().filter(|(_, (matched, ..))| *matched >= wanted);
        enough.map(|(number, (_, in_name, worth))| (score(in_name, worth), number)).collect()
    }

    /// Where a word is, by template; of the last word asked for, all words that begin with it count.
    fn hits(&self, word: &str, begins: bool) -> BTreeMap<usize, Posting> {
        let range = self.words.range(word.to_owned()..);
        let fits = range.take_while(|(known, _)| if begins { known.starts_with(word) } else { *known == word });
        let mut hits: BTreeMap<usize, Posting> = BTreeMap::new();
        for posting in fits.flat_map(|(_, postings)| postings) {
            let hit =
                hits.entry(posting.template).or_insert(Posting { template: posting.template, ..Posting::default() });
            hit.times += posting.times;
            hit.in_name |= posting.in_name;
        }
        hits
    }

    fn rarity(&self, having: usize) -> f64 {
        let (all, having) = (self.templates.len() as f64, having as f64);
        (1.0 + (all - having + 0.5) / (having + 0.5)).ln()
    }

    fn frequency(&self, hit: Posting) -> f64 {
        let times = f64::from(hit.times);
        let length = self.lengths.get(hit.template).copied().unwrap_or(0.0) / self.mean_length.max(1.0);
        times * (SATURATION + 1.0) / (times + SATURATION * (1.0 - LENGTH + LENGTH * length))
    }
}

/// Letters and digits in a row, in lower case.
fn words_of(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use bravo_model::Name;

    use super::*;

    fn index(templates: &[(&str, &str)]) -> Index {
        let mut templates: Vec<Template> = templates
            .iter()
            .map(|(name, description)| Template {
                name: Name::parse("name", name).unwrap(),
                version: 1,
                description: (*description).into(),
                etag: "1-a".into(),
                updated_at: 0,
                deleted: false,
            })
            .collect();
        templates.sort_by(|a, b| a.name.cmp(&b.name));
        Index::new(1, templates)
    }

    fn names(index: &Index, words: &str) -> Vec<String> {
        index.page(words, None, 100).0.iter().map(|template| template.name.to_string()).collect()
    }

    fn shop() -> Index {
        index(&[
            ("crud", "Forms over a database"),
            ("ecommerce", "A shop with a cart, and payments"),
            ("realtime_chat", "Rooms and presence over websockets"),
            ("cart-service", "One part of a shop"),
            ("talk", "chat, chat and chat again"),
        ])
    }

    #[test]
    fn a_word_in_the_name_goes_before_any_in_the_description() {
        assert_eq!(names(&shop(), "chat"), ["realtime_chat", "talk"]);
        assert_eq!(names(&shop(), "Cart"), ["cart-service", "ecommerce"]);
        assert_eq!(names(&shop(), "shop"), ["cart-service", "ecommerce"], "the shorter text counts more");
    }

    #[test]
    fn the_last_word_may_be_a_beginning_and_the_others_may_not() {
        assert_eq!(names(&shop(), "web"), ["realtime_chat"]);
        assert_eq!(names(&shop(), "over data"), ["crud"]);
        assert_eq!(names(&shop(), "data over"), ["crud", "realtime_chat"], "none has both, so any will do");
    }

    #[test]
    fn nothing_asked_is_all_and_nothing_found_is_none() {
        assert_eq!(names(&shop(), " ").len(), 5);
        assert_eq!(names(&shop(), "?!"), [""; 0]);
        assert_eq!(names(&shop(), "zebra"), [""; 0]);
        assert_eq!(names(&Index::default(), "a"), [""; 0]);
    }

    #[test]
    fn pages_follow_each_other() {
        for words in ["", "a", "shop chat over"] {
            let (index, mut seen, mut after) = (shop(), Vec::new(), None);
            loop {
                let (page, next) = index.page(words, after.as_ref(), 2);
                seen.extend(page.iter().map(|template| template.name.to_string()));
                let Some(next) = next else { break };
                after = Some(Position::decode(&next.encode()).unwrap());
            }
            assert_eq!(seen, names(&index, words), "{words:?}");
        }
        assert!(Position::decode("%").is_err());
    }
}
