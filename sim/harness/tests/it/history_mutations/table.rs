//! Which checker saw which kind of change.

use std::collections::BTreeMap;

use sim_core::verdict::Verdict;

/// Holes that are known: of a hundred changes of the kind, so many may be neither seen nor lawful.
const HOLES: [(&str, usize); 3] = [
    // Where several operations of one transaction lost, or an insert was merged, one record of several may be missing.
    ("a conflict record missing", 3),
    // Under the policies of one line, and for merged inserts, the winner's name is not always held to the commits.
    ("a conflict record with another winner", 3),
    // Without the row, what the device shows can be as after another commit that it may show.
    ("an apply without one of its rows", 2),
];

/// How many changes that nobody saw are told.
const TOLD: usize = 20;

#[derive(Default)]
struct Kind {
    changed: usize,
    seen: usize,
    by: BTreeMap<&'static str, usize>,
    alone: BTreeMap<&'static str, usize>,
    lawful: BTreeMap<&'static str, usize>,
    unknown: usize,
    missed: usize,
}

/// All kinds, and the changes that nobody saw although nothing says that they are lawful.
#[derive(Default)]
pub(super) struct Table {
    kinds: BTreeMap<&'static str, Kind>,
    missed: Vec<String>,
}

impl Table {
    pub(super) fn add(
        &mut self,
        name: &'static str,
        verdict: Verdict,
        checkers: &[&'static str],
        lawful: Option<&'static str>,
        place: impl Fn() -> String,
    ) {
        let kind = self.kinds.entry(name).or_default();
        kind.changed += 1;
        for checker in checkers {
            *kind.by.entry(checker).or_default() += 1;
        }
        match (verdict, lawful) {
            (Verdict::Invalid, _) => {
                kind.seen += 1;
                if let [only] = checkers {
                    *kind.alone.entry(only).or_default() += 1;
                }
            }
            (_, Some(why)) => *kind.lawful.entry(why).or_default() += 1,
            (Verdict::Unknown, None) => kind.unknown += 1,
            (Verdict::Valid, None) => {
                kind.missed += 1;
                self.missed.push(format!("{name}: {}", place()));
                self.missed.truncate(TOLD);
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        let sum = |into: &mut BTreeMap<&'static str, usize>, from: BTreeMap<&'static str, usize>| {
            from.into_iter().for_each(|(name, count)| *into.entry(name).or_default() += count);
        };
        for (name, from) in other.kinds {
            let into = self.kinds.entry(name).or_default();
            into.changed += from.changed;
            into.seen += from.seen;
            into.unknown += from.unknown;
            into.missed += from.missed;
            sum(&mut into.by, from.by);
            sum(&mut into.alone, from.alone);
            sum(&mut into.lawful, from.lawful);
        }
        self.missed.extend(other.missed);
        self.missed.truncate(TOLD);
    }

    /// A line a kind: how many were made and seen, by whom, by whom alone, and why the others are lawful.
    pub(super) fn text(&self) -> String {
        let list = |counts: &BTreeMap<&'static str, usize>| {
            counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let mut text = String::new();
        for (name, kind) in &self.kinds {
            text.push_str(&format!(
                "{name}: {} made, {} seen by {}\n    alone: {}\n    lawful: {}; unknown: {}; missed: {}\n",
                kind.changed,
                kind.seen,
                list(&kind.by),
                list(&kind.alone),
                list(&kind.lawful),
                kind.unknown,
                kind.missed
            ));
        }
        text
    }

    /// Fails where a change was neither seen nor lawful, and where the second reading excuses what it should not.
    pub(super) fn assert_complete(&self, wanted: usize) {
        let made: usize = self.kinds.values().map(|kind| kind.changed).sum();
        assert!(made >= wanted, "only {made} changed histories");
        for (name, kind) in &self.kinds {
            assert!(kind.changed >= 200, "{name}: only {} were made", kind.changed);
            let most = HOLES.iter().find(|(hole, _)| hole == name).map_or(0, |(_, percent)| *percent);
            assert!(
                kind.missed * 100 <= kind.changed * most,
                "{name}: {} of {} changes were neither seen nor lawful:\n{}\n{}",
                kind.missed,
                kind.changed,
                self.missed.join("\n"),
                self.text()
            );
            let seen = kind.seen * 100 / kind.changed;
            assert!(seen >= 75, "{name}: only {seen} percent were seen");
        }
    }
}
