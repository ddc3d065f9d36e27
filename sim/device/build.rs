//! Hands SQLite's functions that make and end statements to `statements.rs`: tells dependents, whose programs are linked
//! with this package, the linker's arguments (`DEP_SIM_DEVICE_LINK_ARGS`), and gives them to this package's own tests.

const WRAPPED: [&str; 6] = ["prepare_v2", "prepare_v3", "exec", "finalize", "close", "close_v2"];

fn main() {
    // Linkers of other systems have no such option; statements are then parsed at each use.
    let is_linux = std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux");
    let args = if is_linux { WRAPPED.map(|name| format!("-Wl,--wrap=sqlite3_{name}")).to_vec() } else { Vec::new() };
    for arg in &args {
        println!("cargo::rustc-link-arg={arg}");
    }
    println!("cargo::metadata=link_args={}", args.join(" "));
    println!("cargo::rerun-if-changed=build.rs");
}
