//! Keeps the picture in ARCHITECTURE.md true: who may use whom, and the table of errors.

use std::{
    fs,
    path::{Path, PathBuf},
};

use timingle::{
    error::{Coded, ErrorCode},
    i18n::{Language, error_text},
};

/// Module, and the modules of this crate that it may use beside itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("error.rs", &[]),
    ("domain", &["error"]),
    ("i18n", &["domain", "error"]),
    ("ports.rs", &["domain", "error", "i18n"]),
    ("config", &[]),
    ("data_dir.rs", &[]),
    ("metrics.rs", &["error"]),
    ("telemetry.rs", &["config"]),
    (
        "adapters",
        &["domain", "error", "i18n", "ports", "config", "metrics"],
    ),
    (
        "service",
        &[
            "domain", "error", "i18n", "ports", "config", "metrics", "adapters",
        ],
    ),
    (
        "realtime",
        &["domain", "error", "i18n", "ports", "config", "metrics"],
    ),
    (
        "http",
        &[
            "domain", "error", "i18n", "ports", "config", "metrics", "service", "realtime",
        ],
    ),
    // A client like any other: of the server it knows only how languages and times are written.
    ("chat", &["domain", "i18n"]),
];

/// Words that only these files may contain.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("diesel", &["src/adapters/sql", "src/service"]),
    ("tokio_postgres", &["src/adapters/sql"]),
    ("rusqlite", &["src/adapters/sqlite_log"]),
    ("scylla::", &["src/adapters/cql_log"]),
    ("actix_web_actors", &["src/realtime/session"]),
    ("jsonwebtoken", &["src/service/token"]),
    ("metrics_exporter_prometheus", &["src/metrics.rs"]),
    ("counter!(", &["src/metrics.rs"]),
    ("gauge!(", &["src/metrics.rs"]),
    ("histogram!(", &["src/metrics.rs"]),
];

#[test]
fn modules_use_only_what_stands_below_them() {
    let mut checked = 0;
    for (module, allowed) in MAY_USE {
        let own = module.trim_end_matches(".rs");
        for (file, text) in sources(&Path::new("src").join(module)) {
            for target in used_modules(&text) {
                checked += 1;
                assert!(
                    target == own || allowed.contains(&target.as_str()),
                    "{} uses crate::{target}, which points the wrong way",
                    file.display()
                );
            }
        }
    }
    assert!(
        checked > 100,
        "only {checked} uses were found: is the search broken?"
    );
}

#[test]
fn every_module_of_the_crate_has_its_place_in_the_picture() {
    let lib = fs::read_to_string("src/lib.rs").unwrap();
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let module = line.trim_end_matches(';');
        let known = MAY_USE
            .iter()
            .any(|(name, _)| name.trim_end_matches(".rs") == module);
        assert!(known || module == "app", "{module} has no line in MAY_USE");
        assert!(
            lib.contains(&format!("[`{module}`]")),
            "{module} is not on the map in lib.rs"
        );
    }
}

#[test]
fn engines_and_figures_stay_in_their_files() {
    for (file, text) in sources(Path::new("src")) {
        for (word, homes) in ONLY_IN {
            let at_home = homes
                .iter()
                .any(|home| file.starts_with(home) || file.to_str().unwrap().starts_with(home));
            let used = text
                .lines()
                .map(str::trim)
                .filter(|line| !line.starts_with("//"))
                .any(|line| line.contains(word));
            assert!(at_home || !used, "{} names {word}", file.display());
        }
    }
}

#[test]
fn every_error_code_is_used_and_has_a_text_in_every_language() {
    #[derive(Debug, thiserror::Error)]
    #[error("any")]
    struct Any(ErrorCode);
    impl Coded for Any {
        fn code(&self) -> ErrorCode {
            self.0
        }
    }

    let all: String = sources(Path::new("src"))
        .into_iter()
        .filter(|(file, _)| file != Path::new("src/error.rs"))
        .map(|(_, text)| text)
        .collect();
    for code in ErrorCode::ALL {
        assert!(
            all.contains(&format!("ErrorCode::{code:?}")),
            "nothing answers {code:?}"
        );
        let texts = Language::ALL.map(|language| error_text(language, &Any(code)));
        assert_ne!(texts[0], texts[1], "{code:?} is not translated");
        assert!(
            texts.iter().all(|text| text != code.as_str()),
            "{code:?} has no text"
        );
    }
}

/// The first segments behind `crate::`, also those in a braced list.
fn used_modules(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (offset, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && depth == 0 && c.is_alphabetic() => {
                    found.push(word(&list[offset..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

fn sources(path: &Path) -> Vec<(PathBuf, String)> {
    if path.is_dir() {
        return fs::read_dir(path)
            .unwrap()
            .flat_map(|entry| sources(&entry.unwrap().path()))
            .collect();
    }
    // A test may reach for whatever it checks against.
    if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("tests.rs") {
        return Vec::new();
    }
    vec![(path.to_owned(), fs::read_to_string(path).unwrap())]
}

#[test]
fn every_test_that_the_list_of_weaknesses_names_exists() {
    let mut text = String::new();
    let mut open = vec![PathBuf::from("src"), PathBuf::from("tests/it")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    let weaknesses = fs::read_to_string("docs/weaknesses.md").unwrap();
    let rows: Vec<&str> = weaknesses
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| #"))
        .collect();
    assert_eq!(rows.len(), 37, "36 weaknesses and the app's");
    for row in rows {
        let shown_by = row.rsplit('|').nth(1).unwrap();
        let names: Vec<&str> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let last = name.rsplit("::").next().unwrap();
            let exists = Path::new(name).exists()
                || text.contains(&format!("fn {last}("))
                || ["", ".rs", "/mod.rs"]
                    .iter()
                    .any(|end| Path::new("tests/it").join(format!("{last}{end}")).exists());
            assert!(exists, "there is no test {name}");
        }
    }
}
