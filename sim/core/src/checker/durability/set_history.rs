//! Who added and who removed each element of a row's sets, and with which commit.

use std::collections::{BTreeMap, BTreeSet};

use fixtures::{Row, Rule};

use super::edit::members;
use super::registers::Layout;
use super::write::Write;

/// Who last added an element, for each writer, and who last removed it.
#[derive(Clone, Debug, Default)]
pub(super) struct ElementHistory {
    /// Additions: the last one of each device.
    pub(super) added: BTreeMap<u32, Write>,
    /// The last commit in which the server itself added it; 0 for the seed rows.
    pub(super) added_by_server: Option<u64>,
    /// Who removed it, while it is absent: a device's write, or `None` for the server.
    pub(super) removed: Option<Option<Write>>,
}

/// The elements of every set of one row.
#[derive(Clone, Debug, Default)]
pub(super) struct SetHistory {
    elements: BTreeMap<(usize, String), ElementHistory>,
}

impl SetHistory {
    pub(super) fn element(&self, register: usize, element: &str) -> Option<&ElementHistory> {
        self.elements.get(&(register, element.to_owned()))
    }

    /// An operation adds the element, whether or not it was there.
    pub(super) fn note_addition(&mut self, register: usize, element: &str, by: Write) {
        let history = self.elements.entry((register, element.to_owned())).or_default();
        history.added.insert(by.device, by);
    }

    /// A commit changed the row; `by`: whose it is, `None` for the server.
    pub(super) fn follow(
        &mut self,
        layout: &Layout<'_>,
        before: Option<&Row>,
        after: Option<&Row>,
        by: Option<Write>,
        seq: u64,
    ) {
        let Some(after) = after else {
            self.elements.clear();
            return;
        };
        for (index, register) in layout.registers.iter().enumerate().filter(|(_, one)| one.rule == Rule::Set) {
            let column = register.columns[0];
            let (was, is) = (before.and_then(|before| before.get(column)), after.get(column));
            if before.is_some() && was == is {
                continue;
            }
            let sets = |value| members(value).unwrap_or_default();
            let (was, is): (BTreeSet<String>, BTreeSet<String>) = (sets(was), sets(is));
            for element in is.difference(&was) {
                let history = self.elements.entry((index, element.clone())).or_default();
                // Of an element that is there again only the new additions count; those that its removal met stay.
                history.removed = None;
                match by {
                    Some(by) => drop(history.added.insert(by.device, by)),
                    None => history.added_by_server = Some(seq),
                }
            }
            for element in was.difference(&is) {
                let removed = ElementHistory { removed: Some(by), ..ElementHistory::default() };
                self.elements.insert((index, element.clone()), removed);
            }
        }
    }
}
