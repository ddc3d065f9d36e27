//! Embeds the scenarios at the root, so that adding one adds a file and no Rust.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("../../scenarios");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files: Vec<PathBuf> =
        fs::read_dir(&root)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
    files.sort();
    let mut list = String::from(
        "/// The scenarios that are built in, as (file name, text), in order of name.\n\
         pub const BUILTIN: &[(&str, &str)] = &[\n",
    );
    for file in files {
        println!("cargo::rerun-if-changed={}", file.display());
        let file = file.canonicalize()?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        writeln!(list, "    ({name:?}, include_str!({file:?})),").map_err(io::Error::other)?;
    }
    list.push_str("];\n");
    fs::write(PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?).join("scenarios.rs"), list)
}
