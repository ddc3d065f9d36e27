//! The folder of a failure: the smallest plan run once more, with every checker, and all that `replay` needs.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use reports::Failure;
use sim_core::checker::Report;
use sim_core::plan::Plan;
use sim_core::regression::{Regression, VERSION};
use sim_core::run::{AnomalyText, Shrunk};
use sim_core::scenario::Scenario;
use sim_core::verdict::{Anomaly, Signature, Verdict};
use sim_stack::files;
use sim_world::TrialConfig;

use super::exit_code::CommandError;
use crate::artifacts;
use crate::campaign::{self, Judged};
use crate::databases::{DatabaseError, WorkerDatabases};

/// A failing plan, shrunk.
pub(super) struct ShrunkFailure<'a> {
    pub(super) scenario: &'a Scenario,
    /// The name of its folder.
    pub(super) folder: String,
    /// As it was drawn.
    pub(super) plan: &'a Plan,
    pub(super) smallest: Plan,
    pub(super) searched: bool,
    pub(super) signature: Signature,
    /// What was seen of the plan when it failed, where another run may see something else.
    pub(super) seen: Option<Arc<Judged>>,
    pub(super) app: &'a str,
}

/// A failure whose folder is written.
pub(super) struct Written<'a> {
    pub(super) failure: Failure<'a>,
    pub(super) shrunk: Shrunk,
    /// Everything that is wrong with it.
    pub(super) signatures: Vec<Signature>,
}

/// Runs the smallest plan once more with every checker, and writes the failure's folder.
pub(super) fn write_failure<'a>(
    config: &'a TrialConfig,
    run_folder: &Path,
    found: &ShrunkFailure<'_>,
) -> Result<Written<'a>, CommandError> {
    let harness = |error: &dyn std::fmt::Display| CommandError::Harness(error.to_string());
    let app = &config.system.app;
    let mut databases = WorkerDatabases::new(app).map_err(|error| harness(&error))?;
    let (plan, judged, anomalies) = rerun(config, found, &mut databases).map_err(|error| harness(&error))?;
    let folder = run_folder.join("failures").join(&found.folder);
    let what = anomalies.first().map_or_else(String::new, |anomaly| anomaly.what.clone());
    let mut versions = artifacts::versions();
    versions.insert("app".to_owned(), found.app.to_owned());
    let case = Regression {
        version: VERSION,
        what,
        expected: Some(found.signature.clone()),
        policy: config.system.promised_name(),
        mutant: None,
        world: config.world.name().to_owned(),
        app_hash: app.hash.clone(),
        versions,
        promises: found.scenario.promises.clone(),
        plan: plan.clone(),
    };
    let pretty = |value: serde_json::Result<String>| value.map_err(|error| CommandError::Harness(error.to_string()));
    let files = [
        ("case.json", pretty(serde_json::to_string_pretty(&case))?),
        ("original.json", pretty(serde_json::to_string_pretty(found.plan))?),
        ("history.jsonl", judged.history.to_jsonl(app)),
        ("verdict.json", pretty(serde_json::to_string_pretty(&judged.examined.report))?),
        ("story.txt", reports::story::lines(plan, &judged.history, app, &anomalies).join("\n") + "\n"),
        ("diagram.svg", {
            let marked = reports::story::highlights(&anomalies);
            reports::diagram::svg(plan, &judged.history, app, &marked)
        }),
    ];
    files::write_folder(&folder, &files).map_err(|error| harness(&format!("{}: {error}", folder.display())))?;
    let path = folder.display().to_string();
    let shrunk = Shrunk {
        searched: found.searched,
        operations: plan.operations(),
        faults: plan.faults(),
        devices: plan.devices.len(),
        path: path.clone(),
    };
    let failure = Failure {
        scenario: found.scenario.name.clone(),
        plan: plan.clone(),
        history: judged.history.clone(),
        anomalies,
        replay: reports::text::replay_command(&path),
        app,
    };
    let signatures = judged.examined.report.anomalies().map(Anomaly::signature).collect();
    Ok(Written { failure, shrunk, signatures })
}

/// Runs the smallest plan again, with every checker. Where time is real it may need several attempts, the plan in
/// full may fail where the smallest does not, and if neither does, the report shows what was seen the first time.
fn rerun<'f>(
    config: &TrialConfig,
    found: &'f ShrunkFailure<'_>,
    databases: &mut WorkerDatabases,
) -> Result<(&'f Plan, Arc<Judged>, Vec<AnomalyText>), DatabaseError> {
    let attempts = if config.world.time().is_virtual() {
        vec![&found.smallest]
    } else if found.seen.is_some() && config.stop.load(Ordering::Relaxed) {
        // The user wants no more.
        Vec::new()
    } else {
        [[&found.smallest; 3], [found.plan; 3]].concat()
    };
    let mut last = None;
    for plan in &attempts {
        let judged = campaign::judge(config, &found.scenario.promises, plan, None, databases)?;
        let anomalies = anomaly_texts(&judged.examined.report, &found.signature);
        if judged.examined.report.anomalies().any(|anomaly| anomaly.signature() == found.signature) {
            return Ok((plan, Arc::new(judged), anomalies));
        }
        last = Some((*plan, Arc::new(judged), anomalies));
    }
    let seen = found
        .seen
        .as_ref()
        .map(|seen| (found.plan, seen.clone(), anomaly_texts(&seen.examined.report, &found.signature)));
    let (plan, judged, mut anomalies) = seen.or(last).expect("there is at least one attempt");
    if attempts.is_empty() {
        return Ok((plan, judged, anomalies));
    }
    let signature = &found.signature;
    anomalies.insert(
        0,
        AnomalyText {
            checker: signature.checker.clone(),
            code: signature.code.clone(),
            what: format!("A plan failed with this once, and not again in {} attempts.", attempts.len()),
            because: "Real servers answer in an order of their own; this is the history that showed it.".to_owned(),
            evidence: Vec::new(),
            passes_plain_convergence: false,
            events: Vec::new(),
        },
    );
    Ok((plan, judged, anomalies))
}

/// A report's anomalies for people, one a signature, the given one first.
pub(super) fn anomaly_texts(report: &Report, first: &Signature) -> Vec<AnomalyText> {
    let passes = report.finding("convergence").is_some_and(|finding| finding.verdict == Verdict::Valid);
    let mut seen: Vec<Signature> = Vec::new();
    let mut texts: Vec<(bool, AnomalyText)> = Vec::new();
    for anomaly in report.anomalies() {
        let signature = anomaly.signature();
        if seen.contains(&signature) {
            continue;
        }
        texts.push((signature != *first, AnomalyText::new(anomaly, passes && anomaly.checker != "convergence")));
        seen.push(signature);
    }
    texts.sort_by_key(|(later, _)| *later);
    texts.into_iter().map(|(_, text)| text).collect()
}
