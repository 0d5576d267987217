//! The rules of the house that one crate does not enforce by itself; `docs/ARCHITECTURE.md` gives the reasons.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Rooms from the ground up. A room imports only from lower floors; the longest prefix of a path decides.
const FLOORS: &[(&str, u32)] = &[
    ("error", 0),
    ("fault", 0),
    ("types", 1),
    ("sys", 1),
    ("state", 2),
    ("runtime", 10),
    ("monitor", 15),
    ("monitor::client", 25),
    ("task", 20),
    ("image", 25),
    ("network", 25),
    ("volume", 25),
    ("streaming", 25),
    ("engine", 30),
    ("build", 40),
    ("wire", 45),
    ("berth_wire", 45),
    ("cri", 50),
    ("docker", 50),
    ("daemon", 60),
    ("cli", 70),
    ("fuzz", 80),
];

/// Names that say nothing about what is in a file.
const VAGUE_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc", "manager"];

#[test]
fn rooms_import_only_from_lower_floors() {
    let mut broken = Vec::new();
    for file in sources() {
        let here = module_of(&file);
        let Some(home) = room(&here) else { continue };
        for (line, target) in imports(&file) {
            let Some(wanted) = room(&target) else {
                broken.push(format!("{}:{line}: `crate::{target}` is in no room of the table", file.display()));
                continue;
            };
            if !may_import(home, wanted) {
                broken.push(format!("{}:{line}: {} must not import {}", file.display(), home.0, wanted.0));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn imports_can_be_read_off() {
    let mut broken = Vec::new();
    for file in sources() {
        let here = module_of(&file);
        for (line, text) in code_lines(&file) {
            if text.contains("super::super") {
                broken.push(format!("{}:{line}: `super::super` hides where a name comes from", file.display()));
            }
            let own = here.split("::").next().unwrap_or_default();
            let foreign = text.trim_start().strip_prefix("pub use crate::").filter(|path| !path.starts_with(own));
            if foreign.is_some() && file != Path::new("src/lib.rs") {
                broken.push(format!("{}:{line}: re-exports another room's name", file.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_room_has_its_header() {
    for entry in fs::read_dir("src").expect("src is there").flatten() {
        let header = entry.path().join("mod.rs");
        if !header.exists() {
            continue;
        }
        let text = fs::read_to_string(&header).expect("readable");
        for heading in ["**Owns:**", "**Never:**", "**Runs in:**", "**Start reading at:**"] {
            let found = text.lines().take_while(|line| line.starts_with("//!")).any(|line| line.contains(heading));
            assert!(found, "{} does not say {heading}", header.display());
        }
    }
}

#[test]
fn names_of_files_say_something() {
    for file in sources() {
        let parts = file.iter().map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned());
        let vague: Vec<_> = parts.filter(|part| VAGUE_NAMES.contains(&part.as_str())).collect();
        assert!(vague.is_empty(), "{}: {vague:?} says nothing", file.display());
    }
}

#[test]
fn unsafe_code_stays_at_home() {
    for file in sources() {
        let home = file.starts_with("src/sys") || file == Path::new("src/runtime/launch/child.rs");
        if home || file == Path::new("src/lib.rs") {
            continue;
        }
        for (line, text) in code_lines(&file) {
            let word = text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
            assert!(!word, "{}:{line}: unsafe code away from home", file.display());
        }
    }
}

#[test]
fn no_test_file_is_forgotten() {
    for file in rust_files(Path::new("tests")) {
        let parent = file.parent().expect("below tests");
        let name = file.file_stem().expect("a file").to_string_lossy();
        if parent == Path::new("tests") || name == "main" {
            continue;
        }
        let (owner, module) = match (name.as_ref(), parent.file_name()) {
            ("mod", Some(directory)) => (parent.parent().expect("below tests"), directory.to_string_lossy()),
            _ => (parent, name),
        };
        let declared =
            ["main.rs", "mod.rs"].iter().filter_map(|root| fs::read_to_string(owner.join(root)).ok()).any(|text| {
                text.lines().any(|line| {
                    line.trim_start_matches("pub(crate) ")
                        .trim_start_matches("pub ")
                        .starts_with(&format!("mod {module}"))
                })
            });
        assert!(declared, "{} is in no test binary", file.display());
    }
}

fn may_import(home: (&str, u32), wanted: (&str, u32)) -> bool {
    let same_room = home.0.split("::").next() == wanted.0.split("::").next();
    wanted.1 < home.1 || same_room && wanted.1 == home.1
}

/// The room that a module path lies in, and its floor.
fn room(path: &str) -> Option<(&'static str, u32)> {
    let within = |room: &str| path == room || path.strip_prefix(room).is_some_and(|rest| rest.starts_with("::"));
    FLOORS.iter().filter(|(room, _)| within(room)).max_by_key(|(room, _)| room.len()).copied()
}

fn sources() -> Vec<PathBuf> {
    rust_files(Path::new("src"))
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// `src/image/pull.rs` is `image::pull`.
fn module_of(file: &Path) -> String {
    let path = file.strip_prefix("src").expect("below src").with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).filter(|part| part != "mod").collect();
    parts.join("::")
}

/// Numbered lines that are not comments.
fn code_lines(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).expect("readable");
    let code = |line: &&str| !line.trim_start().starts_with("//");
    (1..).zip(text.lines()).filter(|(_, line)| code(line)).map(|(number, line)| (number, line.to_owned())).collect()
}

/// The paths below `crate::` that a file names, each with its line; groups are taken apart.
fn imports(file: &Path) -> Vec<(usize, String)> {
    let lines = code_lines(file);
    let mut found = Vec::new();
    for (position, (number, line)) in lines.iter().enumerate() {
        for (start, _) in line.match_indices("crate::").filter(|(start, _)| !line[..*start].ends_with("$")) {
            let rest: String = std::iter::once(line[start + "crate::".len()..].trim_end())
                .chain(lines[position + 1..].iter().take(40).map(|(_, later)| later.trim()))
                .collect::<Vec<_>>()
                .join(" ");
            found.extend(paths(&rest).into_iter().map(|path| (*number, path)));
        }
    }
    found
}

/// `a::{b, c::d}` and `{a, b::c}` as full paths.
fn paths(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(text.len());
    let (prefix, rest) = text.split_at(end);
    let Some(group) = rest.strip_prefix('{').filter(|_| prefix.is_empty() || prefix.ends_with("::")) else {
        return vec![prefix.trim_end_matches("::").to_owned()];
    };
    let mut found = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (position, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = group[start..position].trim();
                if !item.is_empty() {
                    found.extend(paths(item).into_iter().map(|path| format!("{prefix}{path}")));
                }
                if c == '}' {
                    break;
                }
                start = position + 1;
            }
            _ => {}
        }
    }
    found
}

#[test]
fn the_scanner_reads_what_it_should() {
    assert_eq!(paths("image::Store;"), ["image::Store"]);
    assert_eq!(
        paths("{error::{Kind, chain}, types::Id, sys}; more"),
        ["error::Kind", "error::chain", "types::Id", "sys"]
    );
    assert_eq!(paths("monitor::{client::Spawner, wire}"), ["monitor::client::Spawner", "monitor::wire"]);
    assert_eq!(room("monitor::client::Spawner"), Some(("monitor::client", 25)));
    assert_eq!(room("images"), None);
    assert!(may_import(("engine", 30), ("monitor::client", 25)));
    assert!(may_import(("monitor::client", 25), ("monitor", 15)));
    assert!(!may_import(("monitor", 15), ("monitor::client", 25)));
    assert!(!may_import(("image", 25), ("network", 25)));
    assert!(!may_import(("types", 1), ("sys", 1)));
}
