//! What the checkers say about one history.

use serde::Serialize;

use crate::verdict::{Anomaly, Class, Finding, Verdict};

/// What the checkers say about one history, in the order of reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Each checker that ran, with what it says.
    pub findings: Vec<(&'static str, Finding)>,
}

impl Report {
    /// The worst of all verdicts.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|(_, finding)| finding.verdict).max().unwrap_or_default()
    }

    /// Adds why a checker could not judge all that it was to judge.
    pub fn add_unknown(&mut self, checker: &'static str, why: String) {
        match self.findings.iter_mut().find(|(name, _)| *name == checker) {
            Some((_, finding)) => finding.unknown(why),
            None => {
                let mut finding = Finding::default();
                finding.unknown(why);
                self.findings.push((checker, finding));
            }
        }
    }

    /// Every contradiction.
    pub fn anomalies(&self) -> impl Iterator<Item = &Anomaly> {
        self.findings.iter().flat_map(|(_, finding)| &finding.anomalies)
    }

    /// The kind of promise that is broken, the one with the lowest exit code first.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        self.anomalies().map(|anomaly| anomaly.class).min()
    }

    /// What one checker says, if it ran.
    #[must_use]
    pub fn finding(&self, checker: &str) -> Option<&Finding> {
        self.findings.iter().find(|(name, _)| *name == checker).map(|(_, finding)| finding)
    }
}
