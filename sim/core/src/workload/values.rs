//! Values: from a generator's description to something a device can write.
//!
//! Every text carries the transaction that it is from and a number within it, `… ~17.2`, so that its
//! writer is known wherever it is read.

use std::fmt::Write as _;

use fixtures::{Generator, ValueShape};
use rand::Rng as _;
use serde_json::Value as Json;

use crate::plan::{EPOCH_US, Expr};
use crate::seed::Rng;

/// Where generated texts are from.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// The step's key; 0 for rows that are there from the beginning.
    key: String,
    /// Texts made so far.
    count: u32,
    /// Whether texts may be odd: quotes, emoji, other scripts.
    pub(crate) odd: bool,
    /// Whether texts may be over 10 kB.
    pub(crate) large: bool,
}

const WORDS: [&str; 48] = [
    "plan",
    "call",
    "write",
    "review",
    "book",
    "garden",
    "letter",
    "train",
    "ticket",
    "report",
    "draft",
    "budget",
    "groceries",
    "invoice",
    "morning",
    "quiet",
    "paint",
    "shelf",
    "meeting",
    "notes",
    "river",
    "lamp",
    "repair",
    "bicycle",
    "window",
    "school",
    "coffee",
    "market",
    "server",
    "backup",
    "photo",
    "album",
    "kitchen",
    "visit",
    "doctor",
    "parcel",
    "north",
    "station",
    "music",
    "lesson",
    "winter",
    "coat",
    "summer",
    "tent",
    "answer",
    "mail",
    "clean",
    "desk",
];

const ODD_WORDS: [&str; 12] =
    ["it's", "\"quoted\"", "back\\slash", "100%", "für", "購物", "🚀", "👩‍👩‍👧", "שלום", "a,b;c", "<b>", "e\u{301}te"];

impl Mark {
    pub(crate) fn new(key: impl ToString, odd: bool, large: bool) -> Self {
        Self { key: key.to_string(), count: 0, odd, large }
    }

    /// Text of `min` to `max` words, unlike any other of the plan.
    pub(crate) fn text(&mut self, rng: &mut Rng, min: u32, max: u32) -> String {
        let words = if self.large && rng.random_bool(0.15) {
            rng.random_range(1_800..6_000)
        } else {
            rng.random_range(min..=max)
        };
        let mut text = String::with_capacity(words as usize * 8 + 8);
        for _ in 0..words {
            let odd = self.odd && rng.random_bool(0.15);
            let words: &[&str] = if odd { &ODD_WORDS } else { &WORDS };
            text.push_str(words[rng.random_range(0..words.len())]);
            text.push(' ');
        }
        self.sign(&mut text);
        text
    }

    fn sign(&mut self, text: &mut String) {
        self.count += 1;
        write!(text, "~{}.{}", self.key, self.count).expect("a String takes every text");
    }

    fn json(&mut self, rng: &mut Rng) -> String {
        let note = self.text(rng, 1, 3);
        let number: i32 = rng.random_range(-5..1000);
        let flag: bool = rng.random();
        let value = match rng.random_range(0..3) {
            0 => serde_json::json!({ "note": note, "n": number }),
            1 => serde_json::json!([note, number, flag]),
            _ => serde_json::json!({ "note": note, "nested": { "on": flag, "list": [number, null] } }),
        };
        value.to_string()
    }
}

/// When and by whom a value is made.
pub(crate) struct Writing<'a> {
    pub(crate) at_us: i64,
    /// The user whose device writes, and all users.
    pub(crate) user: &'a str,
    pub(crate) users: &'a [String],
    /// Whether the row is being created.
    pub(crate) creates: bool,
}

/// Draws a value. `row` finds the id of a row of a table, if one is there.
pub(crate) fn draw(
    generator: &Generator,
    rng: &mut Rng,
    mark: &mut Mark,
    writing: &Writing<'_>,
    row: &mut dyn FnMut(&mut Rng, usize) -> Option<Expr>,
) -> Expr {
    if generator.null > 0.0 && rng.random_bool(generator.null) {
        return Expr::Value(Json::Null);
    }
    Expr::Value(match &generator.shape {
        ValueShape::OneOf(values) => values[rng.random_range(0..values.len())].to_json(),
        ValueShape::Words { min, max } => {
            let text = mark.text(rng, *min, *max);
            Json::from(if mark.odd && rng.random_bool(0.15) { at_the_edge(rng, text) } else { text })
        }
        ValueShape::Int { min, max } => Json::from(rng.random_range(*min..=*max)),
        ValueShape::Real { min, max, step } => {
            let steps = ((max - min) / step).floor() as u64;
            let even = min + step * rng.random_range(0..=steps) as f64;
            // More digits than four bytes hold, and no more than SQLite prints of a number in JSON: 15.
            let is_fine = mark.odd && even < *max && rng.random_bool(0.3);
            Json::from(if is_fine { ((even + step * rng.random_range(0.0..1.0)) * 1e7).round() / 1e7 } else { even })
        }
        ValueShape::Set(elements) => {
            let share = rng.random_range(0.0..0.6);
            let some: Vec<&str> = elements.iter().filter(|_| rng.random_bool(share)).map(AsRef::as_ref).collect();
            Json::from(Json::from(some).to_string())
        }
        // Ids are not known before a device runs: elements come one by one.
        ValueShape::SetOfRows(_) => Json::from("[]"),
        ValueShape::Row(table) => return row(rng, *table).unwrap_or(Expr::Value(Json::Null)),
        ValueShape::Json => Json::from(mark.json(rng)),
        ValueShape::Date { min_days, max_days } => {
            let day = rng.random_range(*min_days..=*max_days);
            Json::from(instant(writing.at_us + day * 86_400_000_000)[..10].to_owned())
        }
        ValueShape::TimeOfDay => {
            Json::from(format!("{:02}:{:02}", rng.random_range(0..24), 5 * rng.random_range(0..12)))
        }
        ValueShape::Instant { min_s: 0, max_s: 0 } => return Expr::Now,
        ValueShape::Instant { min_s, max_s } => {
            Json::from(instant(writing.at_us + rng.random_range(*min_s..=*max_s) * 1_000_000))
        }
        ValueShape::Bool => Json::from(rng.random_range(0..2)),
        ValueShape::Device => return Expr::Device,
        ValueShape::User if writing.creates => Json::from(writing.user),
        ValueShape::User => Json::from(writing.users[rng.random_range(0..writing.users.len())].as_str()),
    })
}

/// A text as people and programs write them at times: empty, blank, with a space at the end, with a new line.
fn at_the_edge(rng: &mut Rng, text: String) -> String {
    match rng.random_range(0..6) {
        0 => String::new(),
        1 => " ".to_owned(),
        2 | 3 => format!("{text} "),
        _ => format!("{text}\nand more"),
    }
}

/// An element of the set that the generator describes.
pub(crate) fn draw_element(
    generator: &Generator,
    rng: &mut Rng,
    row: &mut dyn FnMut(&mut Rng, usize) -> Option<Expr>,
) -> Option<Expr> {
    match &generator.shape {
        ValueShape::Set(elements) => {
            Some(Expr::Value(Json::from(elements[rng.random_range(0..elements.len())].as_ref())))
        }
        ValueShape::SetOfRows(table) => row(rng, *table),
        _ => None,
    }
}

fn instant(at_us: i64) -> String {
    fixtures::value::time_to_iso(EPOCH_US + at_us)
}
