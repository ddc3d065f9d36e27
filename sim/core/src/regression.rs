//! A failure kept as a file: the shrunk plan, what it must fail with, and what it was found with.
//!
//! It promises the verdict, not the history: the same history only comes at the same commit.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::promise::Promises;
use crate::verdict::Signature;

/// The format that [`Regression::version`] names.
pub const VERSION: u32 = 1;

/// A file in `scenarios/regressions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regression {
    /// [`VERSION`].
    pub version: u32,
    /// One sentence: what went wrong.
    pub what: String,
    /// What the plan must fail with as long as the defect is there; `None`: it is mended, and every checker must
    /// hold.
    pub expected: Option<Signature>,
    /// The upload policy under which it fails.
    pub policy: String,
    /// The planted defect that makes it fail, if one does.
    pub mutant: Option<String>,
    /// The world in which it was found.
    pub world: String,
    /// [`fixtures::App::hash`] of the application: another application needs a new plan.
    pub app_hash: String,
    /// The commit and the versions of the libraries that it was found with, by name.
    pub versions: BTreeMap<String, String>,
    /// What the scenario claimed then.
    pub promises: Promises,
    /// The plan.
    pub plan: Plan,
}

impl Regression {
    /// Reads a regression file.
    ///
    /// # Errors
    /// What is wrong in it, in words: no JSON of this form, or a version that this program does not know.
    pub fn parse(text: &str) -> Result<Self, String> {
        let regression: Self = serde_json::from_str(text).map_err(|error| format!("no regression file: {error}"))?;
        if regression.version != VERSION || regression.plan.version != crate::plan::VERSION {
            return Err(format!(
                "version {} with a plan of version {}; this program reads {VERSION} and {}",
                regression.version,
                regression.plan.version,
                crate::plan::VERSION
            ));
        }
        Ok(regression)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Device, DeviceKind, Expr, Intent, Link, SeedRow, Step};
    use crate::seed::Seed;

    fn sample() -> Regression {
        let plan = Plan {
            version: crate::plan::VERSION,
            app: "books".to_owned(),
            scenario: "same-page".to_owned(),
            seed: Seed(0x5eed),
            identity: None,
            devices: vec![Device { kind: DeviceKind::Web, user: "ann".to_owned(), clock_skew_us: 0 }],
            link: Link { latency_min_us: 5_000, latency_max_us: 80_000 },
            token_lifetime_s: 3600,
            rows: vec!["pages".to_owned()],
            seed_rows: vec![SeedRow { row: 0, set: vec![("text".to_owned(), Expr::Now)] }],
            steps: vec![Step {
                at_us: 5,
                key: 1,
                action: Action::Tx { device: 0, activity: "tear".to_owned(), intents: vec![Intent::Delete { row: 0 }] },
            }],
            resume: Vec::new(),
        };
        Regression {
            version: VERSION,
            what: "A page is lost.".to_owned(),
            expected: Some(Signature {
                checker: "durability".to_owned(),
                code: "lost-update".to_owned(),
                role: "pages".to_owned(),
            }),
            policy: "arrival-order".to_owned(),
            mutant: None,
            world: "deterministic".to_owned(),
            app_hash: "00".to_owned(),
            versions: BTreeMap::from([("commit".to_owned(), "abc".to_owned())]),
            promises: Promises::default(),
            plan,
        }
    }

    #[test]
    fn reads_what_it_wrote() {
        let text = serde_json::to_string_pretty(&sample()).expect("a regression is JSON");
        assert_eq!(Regression::parse(&text), Ok(sample()));
    }

    #[test]
    fn refuses_other_versions() {
        let text = serde_json::to_string(&Regression { version: 9, ..sample() }).expect("a regression is JSON");
        let error = Regression::parse(&text).expect_err("version 9 is not known");
        assert!(error.contains("version 9"), "{error}");
    }
}
