//! Which secrets anybody could find: short ones, words, and whatever stands in a public file of the application.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A shared secret of HS256 has at least as many bytes as its digest (RFC 7518).
pub(super) const TOKEN_SECRET_BYTES_MIN: usize = 32;
/// A password of fewer is tried out.
pub(super) const PASSWORD_BYTES_MIN: usize = 12;
/// Files that are larger are no text that people write.
const FILE_BYTES_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 5_000;
/// How many texts of public files are tried as secrets.
const CANDIDATES_MAX: usize = 150;
const CANDIDATE_BYTES_MIN: usize = 6;
/// Folders that no repository publishes, or that others wrote.
const LEFT_OUT: [&str; 4] = [".git", "node_modules", "target", ".venv"];
/// What a line calls a secret.
const NAMES: [&str; 6] = ["secret", "key", "token", "jwt", "passw", "auth"];

/// The texts of an application's public files. A file `.env` is private; `.env.example` is not.
#[derive(Debug, Default)]
pub(super) struct PublicFiles {
    files: Vec<(String, String)>,
}

impl PublicFiles {
    /// Those of a folder and of its folders; none of an application that is built in.
    pub(super) fn read(app: Option<&str>) -> Self {
        let mut public = Self::default();
        if let Some(folder) = app.map(Path::new).filter(|folder| folder.is_dir()) {
            public.add(folder, folder);
        }
        public
    }

    fn add(&mut self, root: &Path, folder: &Path) {
        let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && !LEFT_OUT.contains(&name.as_str()) {
                self.add(root, &path);
            }
            let is_small = entry.metadata().is_ok_and(|about| about.len() <= FILE_BYTES_MAX);
            if !kind.is_file() || name == ".env" || !is_small || self.files.len() >= FILES_MAX {
                continue;
            }
            if let Ok(text) = fs::read_to_string(&path) {
                self.files.push((path.strip_prefix(root).unwrap_or(&path).display().to_string(), text));
            }
        }
    }

    /// The file that a secret stands in.
    fn holding(&self, secret: &str) -> Option<&str> {
        self.files.iter().find(|(_, text)| text.contains(secret)).map(|(name, _)| name.as_str())
    }

    /// What may be a secret: the texts of lines that speak of one, each with its file.
    pub(super) fn candidates(&self) -> Vec<(String, String)> {
        let mut seen = BTreeSet::new();
        let mut candidates = Vec::new();
        for (name, text) in &self.files {
            let lines = text.lines().filter(|line| {
                let line = line.to_lowercase();
                NAMES.iter().any(|name| line.contains(name))
            });
            for word in lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || "\"'`=:,;(){}[]<>".contains(c)))
            {
                if word.len() >= CANDIDATE_BYTES_MIN && candidates.len() < CANDIDATES_MAX && seen.insert(word) {
                    candidates.push((word.to_owned(), name.clone()));
                }
            }
        }
        candidates
    }

    /// Why anybody could find the secret; it is not repeated.
    pub(super) fn why_weak(&self, secret: &str, bytes_min: usize) -> Option<String> {
        if let Some(file) = self.holding(secret) {
            return Some(format!("stands in {file}, which everybody can read"));
        }
        if secret.len() < bytes_min {
            return Some(format!("is short: {} bytes, of at least {bytes_min}", secret.len()));
        }
        // Of 32 random letters and digits, one in hundreds has no digit.
        let is_words = secret.chars().all(|c| c.is_ascii_alphabetic() || "-_ .".contains(c));
        is_words.then(|| "is made of words".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_could_find_is_told_and_not_repeated() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir_all(folder.path().join("docs")).expect("a folder can be made");
        let published = "pub1ished-0123456789-0123456789-0123456789";
        fs::write(folder.path().join("docs/start.md"), format!("export JWT_SECRET=\"{published}\"\n"))
            .expect("writable");
        fs::write(folder.path().join(".env"), "TOKEN_SECRET=pr1vate-0123456789-0123456789-0123456789\n")
            .expect("writable");
        let public = PublicFiles::read(folder.path().to_str());
        let why = |secret: &str| public.why_weak(secret, TOKEN_SECRET_BYTES_MIN).unwrap_or_default();
        assert_eq!(why(published), "stands in docs/start.md, which everybody can read");
        assert_eq!(why("dev5ecret"), "is short: 9 bytes, of at least 32");
        assert_eq!(why("a-secret-of-words-that-is-long-enough-for-all"), "is made of words");
        assert_eq!(why("pr1vate-0123456789-0123456789-0123456789"), "");
        assert_eq!(why("f3b1c09d77e24a5c8e1f0a9b6d2c4e8f"), "");
        let candidates: Vec<String> = public.candidates().into_iter().map(|(word, _)| word).collect();
        assert!(candidates.contains(&published.to_owned()), "{candidates:?}");
        assert!(PublicFiles::read(Some("flowstate")).files.is_empty());
    }
}
