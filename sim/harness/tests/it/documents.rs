//! What the documents name is there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The documents at the root and below `docs/`.
fn documents() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name)).to_vec();
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(folder)).expect("the documents are there");
        let paths = entries.map(|entry| entry.expect("its entries can be read").path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|ending| ending == "md")));
    }
    found
}

/// Files and folders that a text names in backticks.
fn named_paths(text: &str) -> Vec<&str> {
    let spans = text.split('`').skip(1).step_by(2);
    let folders = ["backend/", "docs/", "fixtures/", "reports/", "scenarios/", "sim/"];
    spans
        .filter(|span| folders.iter().any(|folder| span.starts_with(folder)) && !span.contains([' ', '*', '…', '{']))
        .collect()
}

#[test]
fn named_files_are_there() {
    let mut missing = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document is text");
        for path in named_paths(&text) {
            // Runs make these.
            if !path.starts_with("reports/runs") && !root().join(path).exists() {
                missing.push(format!("{}: {path}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "no such file:\n{}", missing.join("\n"));
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).expect("a document is text");
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap_or_default();
            let folder = document.parent().expect("a document is in a folder");
            if !folder.join(file).exists() {
                broken.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// The page of planted defects lists those that there are, each once, and README's table has one row a finding.
#[test]
fn generated_tables_are_whole() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).expect("the page is there");
    let page = read("docs/planted-defects.md");
    let mut listed: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut planted: Vec<&str> = syncstorm::mutants::Mutant::ALL.into_iter().map(|mutant| mutant.name()).collect();
    listed.sort_unstable();
    planted.sort_unstable();
    assert_eq!(listed, planted, "write it anew with `./x mutants --shrink --json`");
    let readme = read("README.md");
    let table = readme.split("<!-- findings of ./x run --policy arrival-order -->").nth(1).expect("it begins");
    let table = table.split("<!-- end of findings -->").next().expect("it ends");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let last = table.trim().lines().last().expect("a sentence");
    let findings: usize = last.split(' ').next().and_then(|count| count.parse().ok()).expect("a count");
    assert!(!rows.is_empty() && rows.len() <= findings, "{} rows, {findings} findings", rows.len());
    for row in rows {
        let name = row.trim_start_matches("| `").split('`').next().expect("a name");
        assert!(root().join("scenarios").join(format!("{name}.toml")).is_file(), "{name} is no scenario: {row}");
    }
}
