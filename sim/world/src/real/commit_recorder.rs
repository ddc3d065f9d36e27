//! From the commit log into the history, on the plan's thread.

use std::rc::Rc;
use std::sync::Arc;

use sim_core::history::{What, Who};
use sim_device::recorder::Recorder;

use super::attributed_commit::{AttributedCommit, Entry};
use super::commit_log::CommitLog;
use crate::translator::Translator;

pub(super) struct CommitRecorder {
    pub(super) log: Arc<CommitLog>,
    pub(super) translator: Rc<Translator>,
    pub(super) recorder: Recorder,
}

impl CommitRecorder {
    /// Writes the commits that were read since the last time into the history.
    pub(super) fn record_new(&self) {
        for entry in self.log.take() {
            match entry {
                Entry::Commit(AttributedCommit { commit, sent, is_foreign }) => {
                    self.recorder.add(Who::Server, What::Commit(self.translator.commit(&commit, sent, is_foreign)));
                }
                Entry::Claim(claim) => {
                    let origin = self.translator.origin(&claim.origin, &[], claim.sent);
                    self.recorder.attribute_commit(claim.seq, origin, &claim.operations);
                }
            }
        }
        if let Some(problem) = self.log.failure() {
            self.recorder.record_harness_failure(format!("the history's slot: {problem}"));
        }
        let stray_rows = self.log.stray_rows();
        if !stray_rows.is_empty() {
            let rows = stray_rows.join(", ");
            self.recorder
                .record_harness_failure(format!("an upload of the plan changed rows that are not its own: {rows}"));
        }
    }
}
