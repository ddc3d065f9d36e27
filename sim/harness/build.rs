//! Tells the program which commit it was built from, by reading git's own files; and links the program
//! as `sim-device` wants its dependents linked.

use std::fs;
use std::path::Path;

fn main() {
    let git = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.git");
    println!("cargo:rerun-if-changed={}", git.join("HEAD").display());
    let commit = commit(&git).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=SYNCSTORM_COMMIT={commit}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        // A third of the program would be line tables.
        println!("cargo:rustc-link-arg=-Wl,--compress-debug-sections=zlib");
    }
    for arg in std::env::var("DEP_SIM_DEVICE_LINK_ARGS").unwrap_or_default().split_whitespace() {
        println!("cargo:rustc-link-arg={arg}");
    }
}

fn commit(git: &Path) -> Option<String> {
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(name) = head.trim().strip_prefix("ref: ") else { return Some(head.trim().to_owned()) };
    println!("cargo:rerun-if-changed={}", git.join(name).display());
    if let Ok(commit) = fs::read_to_string(git.join(name)) {
        return Some(commit.trim().to_owned());
    }
    let packed = fs::read_to_string(git.join("packed-refs")).ok()?;
    packed.lines().find_map(|line| line.strip_suffix(name)?.split_whitespace().next().map(str::to_owned))
}
