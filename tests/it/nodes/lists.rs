//! Lists of names in `.ci` that nothing else holds against what they name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}

/// `.ci/faults/check`, which takes long, shows that the checker finds them.
#[test]
fn faults_can_be_put_into_the_code_as_it_is() {
    let patches = files(&root().join(".ci/faults"), "patch");
    assert!(patches.len() >= 3, "{patches:?}");
    for patch in patches {
        let tried = Command::new("patch")
            .args(["--dry-run", "--batch", "--forward", "--strip", "1", "--directory"])
            .arg(root())
            .arg("--input")
            .arg(&patch)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&tried.stdout);
        assert!(tried.status.success(), "{}: {said}", patch.display());
    }
}

#[test]
fn tests_that_are_left_out_on_production_engines_exist() {
    let tests = root().join("tests/it");
    let sources: Vec<String> = files(&tests, "rs")
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let list = fs::read_to_string(root().join(".ci/embedded-only.txt")).unwrap();
    let lines = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        let (name, reason) = line.split_once(' ').unwrap();
        assert!(!reason.trim().is_empty(), "{name} has no reason");
        let module = name.strip_suffix("::").unwrap_or(name);
        let is_module = [format!("{module}.rs"), format!("{module}/mod.rs")]
            .iter()
            .any(|file| tests.join(file).exists());
        let is_test = sources
            .iter()
            .any(|source| source.contains(&format!("fn {name}(")));
        assert!(is_module || is_test, "there is no test {name}");
    }
}
