//! Why the model decided as it did, in words.

use fixtures::value::time_to_iso;

use super::state::Stamp;
use crate::history::{RowId, label};

/// One decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Note<'a> {
    /// Which operation of the transaction.
    pub op: usize,
    /// The row decided on.
    pub row: RowId,
    /// The column or group; `None`: the row.
    pub register: Option<&'a str>,
    /// Why.
    pub why: Why,
}

/// The reason for a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Why {
    /// The row was not there.
    Created,
    /// Base equals current.
    Unchanged,
    /// The new value is the current one.
    Equal,
    /// The stored stamp is smaller.
    Newer {
        /// The stored stamp.
        stored: Stamp,
    },
    /// The stored stamp is not smaller.
    Older {
        /// The stored stamp.
        stored: Stamp,
    },
    /// The stored stamp is of the same device.
    OwnLater {
        /// The stored stamp.
        stored: Stamp,
    },
    /// No operation wrote the register before.
    Unstamped,
    /// Rule max, greater.
    Greater,
    /// Rule max, not greater.
    NotGreater,
    /// Rule keep-server.
    KeepServer,
    /// Rule counter.
    Counted,
    /// Rule set.
    United,
    /// The policy writes what is sent.
    Written,
    /// `server-wins`.
    ChangedSince,
    /// `row-latest`.
    OlderThanRow {
        /// The row's clock.
        clock_us: i64,
    },
    /// `version-check`, and a delete under `server-wins`.
    BaseDiffers,
    /// `version-check`: an insert of a row that is there.
    AlreadyThere,
    /// The reference names no row and becomes NULL.
    NoParent,
    /// The write would close a cycle through these rows.
    Cycle {
        /// From the row upwards.
        path: Vec<RowId>,
    },
    /// Another row runs and its lease holds.
    Held {
        /// The row that runs.
        by: RowId,
        /// When its last heartbeat was received.
        beat_us: i64,
    },
    /// The row ran, its lease was over, another started.
    LeaseOver,
    /// The row that the reference named was deleted.
    ParentDeleted {
        /// The row deleted.
        parent: RowId,
    },
    /// Deleted with its parent.
    Cascaded {
        /// The row deleted first.
        parent: RowId,
    },
    /// The row was deleted.
    Deletes,
    /// There was nothing to delete.
    NothingThere,
    /// The row is a tombstone, and that stays.
    Deleted {
        /// The delete.
        by: Stamp,
    },
    /// The row came back by an edit.
    Revived,
    /// The row was edited since the delete's base, and edits revive.
    Edited,
    /// Merged into the live row with the same unique key.
    SameKey {
        /// That row.
        survivor: RowId,
    },
}

impl Why {
    /// The write that the operation met.
    #[must_use]
    pub fn rival(&self) -> Option<Stamp> {
        match self {
            Self::Newer { stored } | Self::Older { stored } | Self::Deleted { by: stored } => Some(*stored),
            _ => None,
        }
    }

    /// One sentence. `op` is the operation's stamp, `row` names rows.
    #[must_use]
    pub fn sentence(&self, op: Stamp, row: &dyn Fn(RowId) -> String) -> String {
        let stamped =
            |stamp: &Stamp| format!("{} (clock {})", label::writer(&stamp.writer()), time_to_iso(stamp.clock_us));
        let op_text = stamped(&op);
        match self {
            Self::Created => "The row was not there, so the insert creates it.".to_owned(),
            Self::Unchanged => "The value is what the operation's `old` says, so the operation applies.".to_owned(),
            Self::Equal => "The new value is the one that is there.".to_owned(),
            Self::Newer { stored } => format!(
                "The value changed since the operation's base; {op_text} is greater than {}, so rule latest takes it.",
                stamped(stored)
            ),
            Self::Older { stored } => format!(
                "The value changed since the operation's base; {op_text} is not greater than {}, so by rule latest the server's value stays.",
                stamped(stored)
            ),
            Self::OwnLater { stored } => format!(
                "The last write of the register is the same device's {}, which {op_text} had seen.",
                stamped(stored)
            ),
            Self::Unstamped => "No operation wrote the register before, so the operation wins.".to_owned(),
            Self::Greater => "Rule max takes the greater value.".to_owned(),
            Self::NotGreater => "By rule max the server's value stays: it is not smaller.".to_owned(),
            Self::KeepServer => "The value changed since the operation's base; rule keep-server keeps it.".to_owned(),
            Self::Counted => "Rule counter adds the operation's difference to the server's value.".to_owned(),
            Self::United => "Rule set adds what the operation added and removes what it removed.".to_owned(),
            Self::Written => "The policy writes what is sent.".to_owned(),
            Self::ChangedSince => {
                "The column changed since the operation's base, so it keeps the server's value.".to_owned()
            }
            Self::OlderThanRow { clock_us } => {
                format!(
                    "{op_text} is older than the row's clock {}, so it is superseded whole.",
                    time_to_iso(*clock_us)
                )
            }
            Self::BaseDiffers => "An `old` value is not the row's, so the operation is superseded whole.".to_owned(),
            Self::AlreadyThere => {
                "The insert takes the row for absent, and it is there, so it is superseded whole.".to_owned()
            }
            Self::NoParent => "The row named by the reference is not there, so the reference becomes NULL.".to_owned(),
            Self::Cycle { path } => {
                let path: Vec<String> = path.iter().map(|at| row(*at)).collect();
                format!("It would close the cycle {}, so the parent stays as it is.", path.join(" -> "))
            }
            Self::Held { by, beat_us } => format!(
                "{} runs and its last heartbeat was received at {}, within the lease, so this start is merged to not running.",
                row(*by),
                time_to_iso(*beat_us)
            ),
            Self::LeaseOver => "Its lease was over when another row started, so it no longer runs.".to_owned(),
            Self::ParentDeleted { parent } => {
                format!("{} was deleted, so the reference to it becomes NULL.", row(*parent))
            }
            Self::Cascaded { parent } => format!("{} was deleted, and its children go with it.", row(*parent)),
            Self::Deletes => format!("{op_text} deletes the row."),
            Self::NothingThere => "There was nothing to delete.".to_owned(),
            Self::Deleted { by } => format!("The row was deleted by {}, and that stays.", stamped(by)),
            Self::Revived => {
                "An edit of a deleted row brings it back in this table: its image overlaid with the edit.".to_owned()
            }
            Self::Edited => "The row was edited since the delete's base, and edits revive in this table.".to_owned(),
            Self::SameKey { survivor } => {
                format!("{} has the same unique key, so the insert merges into it.", row(*survivor))
            }
        }
    }
}
