//! Links tests as `sim-device` wants its dependents linked.

fn main() {
    for arg in std::env::var("DEP_SIM_DEVICE_LINK_ARGS").unwrap_or_default().split_whitespace() {
        println!("cargo::rustc-link-arg={arg}");
    }
}
