//! Which module imports which: packages in layers, no ring between the modules of a package, and no file that has outgrown
//! its purpose.
//!
//! An import is a `use` or a path that begins with `crate`, `self` or `super`, outside tests. A module may use its own
//! children: it is made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Attribute, ItemMod, ItemUse, UseTree};

/// The packages, from the bottom up: each may import only those before it.
const PACKAGES: [(&str, &str); 11] = [
    ("fixtures", "fixtures"),
    ("backend", "backend"),
    ("sim/core", "sim-core"),
    ("sim/service", "sim-service"),
    ("sim/network", "sim-network"),
    ("sim/device", "sim-device"),
    ("reports", "reports"),
    ("sim/stack", "sim-stack"),
    ("sim/world", "sim-world"),
    ("sim/verify", "sim-verify"),
    ("sim/harness", "syncstorm"),
];

/// Files longer than this say why in their first comment, with these words.
const LINES_MAX: usize = 500;
const REASON: &str = "long because";

/// The path of a module below its package's root; empty for the root itself.
type Module = Vec<String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a source folder can be read") {
            let path = entry.expect("its entries can be read").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The modules of a package that are no tests, each with its file.
fn modules(source: &Path) -> BTreeMap<Module, PathBuf> {
    let mut modules = BTreeMap::new();
    for file in files(source) {
        let path = file.strip_prefix(source).expect("it was found below").with_extension("");
        let mut module: Module = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        if module.last().is_some_and(|name| name == "mod") {
            module.pop();
        }
        if module == ["lib"] {
            module.clear();
        }
        let is_test = module.iter().any(|name| name == "tests" || name == "testing");
        if !is_test && module != ["main"] {
            modules.insert(module, file);
        }
    }
    modules
}

/// The paths that one file imports, each from the package's root.
struct Imports {
    module: Module,
    paths: BTreeSet<Module>,
}

impl Imports {
    fn of(module: &Module, text: &str) -> Self {
        let file = syn::parse_file(text).expect("a source file is Rust");
        let mut imports = Self { module: module.clone(), paths: BTreeSet::new() };
        imports.visit_file(&file);
        imports
    }

    /// Adds a path as it is written in the module.
    fn add(&mut self, written: &[String]) {
        let mut path = match written.first().map(String::as_str) {
            Some("crate") => Module::new(),
            Some("self" | "super") => self.module.clone(),
            _ => return,
        };
        for part in written {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => {
                    path.pop();
                }
                part => path.push(part.to_owned()),
            }
        }
        self.paths.insert(path);
    }

    fn add_tree(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_tree(&path.tree, before);
                before.pop();
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.add(before);
                before.pop();
            }
            UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.add(before);
                before.pop();
            }
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, before)),
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
    })
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.add_tree(&item.tree, &mut Vec::new());
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let written: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if written.len() > 1 {
            self.add(&written);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if is_for_tests(&item.attrs) || item.content.is_none() {
            return;
        }
        self.module.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.module.pop();
    }
}

/// Which modules each module imports, its own children aside.
fn imports(modules: &BTreeMap<Module, PathBuf>) -> BTreeMap<&Module, BTreeSet<&Module>> {
    let owner = |path: &Module| {
        (1..=path.len()).rev().find_map(|end| modules.get_key_value(&path[..end])).map(|(owner, _)| owner)
    };
    let mut found = BTreeMap::new();
    for (module, file) in modules {
        let text = fs::read_to_string(file).expect("a source file is text");
        let paths = Imports::of(module, &text).paths;
        let owners = paths.iter().filter_map(owner).filter(|owner| !owner.starts_with(module));
        found.insert(module, owners.collect());
    }
    found
}

/// Every set of modules that import each other in a ring, directly or through others.
fn rings(modules: &BTreeMap<Module, PathBuf>) -> Vec<BTreeSet<String>> {
    let imports = imports(modules);
    let reached = |from: &Module| {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&Module> = imports.get(from).into_iter().flatten().copied().collect();
        while let Some(module) = open.pop() {
            if reached.insert(module.clone()) {
                open.extend(imports.get(module).into_iter().flatten());
            }
        }
        reached
    };
    let reach: BTreeMap<&Module, BTreeSet<Module>> = modules.keys().map(|module| (module, reached(module))).collect();
    let mut rings: Vec<BTreeSet<String>> = Vec::new();
    for (module, reached) in &reach {
        let ring: BTreeSet<String> = reached
            .iter()
            .filter(|other| reach.get(other).is_some_and(|back| back.contains(*module)))
            .map(|module| module.join("::"))
            .collect();
        if ring.len() > 1 && !rings.contains(&ring) {
            rings.push(ring);
        }
    }
    rings
}

#[test]
fn no_modules_import_each_other_in_a_ring() {
    let mut wrong = Vec::new();
    for (folder, package) in PACKAGES {
        let found = rings(&modules(&root().join(folder).join("src")));
        wrong.extend(found.into_iter().map(|ring| format!("{package}: {}", Vec::from_iter(ring).join(", "))));
    }
    assert!(wrong.is_empty(), "modules import each other in a ring:\n{}", wrong.join("\n"));
}

#[test]
fn a_ring_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file can be written");
    write("lib.rs", "mod a; mod b; mod c; mod d;");
    write("a.rs", "use crate::b::{self, B}; pub struct A;");
    write("b.rs", "fn f() -> super::c::C { crate::c::C } pub struct B;");
    write("c.rs", "pub struct C; #[cfg(test)] mod tests { use crate::d::D; }");
    write("d.rs", "use crate::c::C; pub struct D;");
    assert!(rings(&modules(folder.path())).is_empty());
    write("c.rs", "pub struct C; fn f() { let _ = crate::a::A; }");
    let ring = BTreeSet::from(["a", "b", "c"].map(str::to_owned));
    assert_eq!(rings(&modules(folder.path())), [ring]);
}

#[test]
fn packages_are_layers() {
    for (index, (folder, package)) in PACKAGES.iter().enumerate() {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("a package has a manifest");
        let manifest: toml::Table = toml::from_str(&manifest).expect("a manifest is TOML");
        let table =
            |name: &str| manifest.get(name).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
        for import in table("dependencies").chain(table("build-dependencies")) {
            let above = PACKAGES[index..].iter().any(|(_, above)| above == import);
            assert!(!above, "{package} imports {import}, which stands above it");
        }
    }
    let listed: BTreeSet<String> = PACKAGES.iter().map(|(folder, _)| (*folder).to_owned()).collect();
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let manifest: toml::Table = toml::from_str(&manifest).expect("a manifest is TOML");
    let members = manifest["workspace"]["members"].as_array().expect("the workspace has members");
    let members: BTreeSet<String> = members.iter().filter_map(|member| member.as_str().map(str::to_owned)).collect();
    assert_eq!(members, listed, "every package has its layer");
}

#[test]
fn long_files_say_why() {
    let mut wrong = Vec::new();
    for (folder, _) in PACKAGES {
        for file in files(&root().join(folder)) {
            let text = fs::read_to_string(&file).expect("a source file is text");
            let lines = text.lines().count();
            let comment: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
            if lines > LINES_MAX && !comment.join(" ").to_lowercase().contains(REASON) {
                wrong.push(format!("{} has {lines} lines", file.display()));
            }
            if file.ends_with("mod.rs") {
                wrong.push(format!("{}: a module is a file beside its folder", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "split them, or say why not (\"{REASON} …\"):\n{}", wrong.join("\n"));
}
