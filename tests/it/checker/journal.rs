//! Every operation and what became of it, one line each, so that a violation can be explained.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Instant,
};

/// Lines shown with a violation.
const SHOWN: usize = 15;

/// A file of operations.
pub(super) struct Journal {
    begun: Instant,
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

impl Journal {
    pub(super) fn at(path: &Path) -> Self {
        Self {
            begun: Instant::now(),
            path: path.to_owned(),
            file: Mutex::new(BufWriter::new(File::create(path).unwrap())),
        }
    }

    /// Notes that `who` did `what`, or heard of it.
    pub(super) fn note(&self, who: &str, what: impl std::fmt::Display) {
        let at = self.begun.elapsed();
        let mut file = self.file.lock().unwrap();
        writeln!(file, "{:>10.6} {who}: {what:.500}", at.as_secs_f64()).unwrap();
    }

    /// The lines about whatever `violation` names by a key.
    pub(super) fn about(&self, violation: &str) -> Vec<String> {
        self.file.lock().unwrap().flush().unwrap();
        let is_key = |word: &&str| word.len() == 36 && uuid::Uuid::parse_str(word).is_ok();
        let keys: Vec<&str> = violation
            .split(|letter: char| !letter.is_ascii_hexdigit() && letter != '-')
            .filter(is_key)
            .collect();
        let lines = BufReader::new(File::open(&self.path).unwrap()).lines();
        lines
            .map_while(Result::ok)
            .filter(|line| keys.iter().any(|key| line.contains(key)))
            .take(SHOWN)
            .collect()
    }
}
