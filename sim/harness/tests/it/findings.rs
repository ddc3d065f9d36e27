//! What a run found is told once, whose claim it breaks is true, and the case shown is a case of it.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value as Json;

/// A run under the policy of the commonest handler; gives its JSON, and the folder of its report.
fn run(scenarios: &[&str], plans: &str) -> (Json, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_syncstorm"))
        .args(["run", "--policy", "arrival-order", "--json", "--plans", plans, "--out"])
        .arg(folder.path().join("out"))
        .args(scenarios)
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    (serde_json::from_slice(&output.stdout).expect("JSON"), folder)
}

fn texts(json: &Json) -> Vec<String> {
    json.as_array().expect("a list").iter().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
}

fn named(list: &Json) -> BTreeSet<String> {
    let scenarios = list.as_array().expect("a list").iter();
    scenarios.map(|met| met["scenario"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn each_finding_is_told_once_and_breaks_the_claims_that_it_is_about() {
    let (run, folder) =
        run(&["same-field", "create-same-setting", "different-fields", "token-expiry", "lost-reply"], "12");
    let findings = run["findings"].as_array().expect("findings");
    let ways: Vec<String> =
        findings.iter().map(|one| format!("{} {} {}", one["checker"], one["code"], one["roles"])).collect();
    assert_eq!(ways.iter().collect::<BTreeSet<_>>().len(), ways.len(), "{ways:#?}");
    let of = |checker: &str, code: &str| {
        findings
            .iter()
            .find(|one| one["checker"] == checker && one["code"] == code)
            .unwrap_or_else(|| panic!("{checker} {code} is not among {ways:#?}"))
    };
    // What the claim says comes first, with a case of just that.
    let stamp = of("claims", "greatest-stamp-stays");
    assert!(named(&stamp["breaks"]).contains("same-field"), "{stamp:#}");
    assert_eq!(stamp["anomalies"][0]["code"], "greatest-stamp-stays");
    assert_eq!(stamp["shrunk"]["devices"], 2, "it is about what two devices did: {stamp:#}");
    // A queue that the unique key blocks is not shown as one that something else blocks.
    let stuck = findings.iter().find(|one| texts(&one["roles"]).iter().any(|role| role == "answered 500 unique key"));
    let stuck = stuck.or_else(|| {
        findings.iter().find(|one| texts(&one["roles"]).iter().any(|role| role.starts_with("answered 500 unique")))
    });
    let stuck = stuck.unwrap_or_else(|| panic!("{ways:#?}"));
    assert!(named(&stuck["breaks"]).contains("create-same-setting"), "{stuck:#}");
    assert!(stuck["anomalies"][0]["evidence"].to_string().contains("unique"), "{stuck:#}");
    // What is done twice needs the lost reply: it is that scenario's, and nobody else's here.
    let twice = of("exactly-once", "applied-twice");
    assert_eq!(named(&twice["breaks"]), BTreeSet::from(["lost-reply".to_owned()]), "{twice:#}");
    // A scenario about tokens meets conflicts, and keeps its claim.
    let verdict = |name: &str| {
        let scenarios = run["scenarios"].as_array().expect("scenarios");
        scenarios.iter().find(|one| one["name"] == name).expect("it ran")["verdict"].clone()
    };
    assert_eq!((verdict("same-field"), verdict("lost-reply")), (Json::from("invalid"), Json::from("invalid")));
    assert_ne!(verdict("token-expiry"), "invalid");
    assert_ne!(verdict("different-fields"), "invalid");
    // Each report says the same.
    let read = |name: &str| std::fs::read_to_string(folder.path().join("out").join(name)).expect("it is written");
    assert_eq!(read("report.html").matches("class=\"card failure\"").count(), findings.len());
    let summary = read("summary.txt");
    assert_eq!(summary.lines().filter(|line| line.starts_with("finding ")).count(), findings.len(), "{summary}");
    let junit = read("junit.xml");
    let beside = findings.iter().filter(|one| named(&one["breaks"]).is_empty()).count();
    assert_eq!(junit.matches("name=\"finding ").count(), beside, "{junit}");
    assert!(read("findings.md").contains("`same-field`"));
    for finding in findings {
        let path = finding["shrunk"]["path"].as_str().expect("a path");
        assert!(std::path::Path::new(path).join("case.json").is_file(), "{path}");
    }
}
