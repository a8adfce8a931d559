//! Where a bundle may be written: never over what somebody else keeps.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::{BundleError, FILES, cannot};

/// Whether a bundle may be written into `directory`: it may be missing, be empty, or hold a bundle of before.
///
/// # Errors
///
/// [`BundleError::Occupied`] where it holds anything else, [`BundleError::System`] where it cannot be read.
pub fn check_room(directory: &Path) -> Result<(), BundleError> {
    bundled(directory).map(drop)
}

/// Whether `directory` may hold bundles, each in a directory of its own: it may be missing, or have nothing
/// but bundles in it.
///
/// # Errors
///
/// As of [`check_room`], and [`BundleError::OneBundle`] where it is a bundle itself.
pub fn check_room_for_many(directory: &Path) -> Result<(), BundleError> {
    for name in names_in(directory)? {
        let path = directory.join(&name);
        if FILES.contains(&name.as_str()) {
            let path = directory.to_owned();
            return Err(BundleError::OneBundle { path });
        }
        if !path.is_dir() {
            return Err(occupied(directory, name));
        }
        check_room(&path)?;
    }
    Ok(())
}

/// Makes `directory` an empty one. What was in it of a bundle of before goes.
///
/// # Errors
///
/// As of [`check_room`]; nothing is touched then. [`BundleError::System`] where it cannot be made or emptied.
pub(super) fn make_room(directory: &Path) -> Result<(), BundleError> {
    for name in bundled(directory)? {
        let path = directory.join(name);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(cannot("replace", &path))?;
    }
    fs::create_dir_all(directory).map_err(cannot("make the directory", directory))
}

/// What is in the directory, where all of that belongs to a bundle.
fn bundled(directory: &Path) -> Result<BTreeSet<String>, BundleError> {
    let names = names_in(directory)?;
    match names.iter().find(|name| !FILES.contains(&name.as_str())) {
        Some(stranger) => Err(occupied(directory, stranger.clone())),
        None => Ok(names),
    }
}

fn occupied(directory: &Path, found: String) -> BundleError {
    BundleError::Occupied {
        path: directory.to_owned(),
        found,
    }
}

fn names_in(directory: &Path) -> Result<BTreeSet<String>, BundleError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(cannot("read the directory", directory)(error)),
    };
    let name_of = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let names: io::Result<_> = entries.map(|entry| entry.map(name_of)).collect();
    names.map_err(cannot("read the directory", directory))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A directory with these files in it, and how room is made in it.
    #[track_caller]
    fn check(files: &[&str], is_free: bool) {
        let above = tempfile::tempdir().expect("a new directory");
        let directory = above.path().join("out");
        for file in files {
            let path = directory.join(file);
            let parent = path.parent().expect("it is below the directory");
            fs::create_dir_all(parent).expect("a new directory");
            fs::write(&path, "kept").expect("a new file");
        }
        let made = make_room(&directory);
        let left = |file: &&&str| directory.join(file).exists();
        if is_free {
            made.expect("there is room");
            assert_eq!(files.iter().filter(left).count(), 0);
            assert!(directory.is_dir());
        } else {
            let error = made.expect_err("there is no room").to_string();
            assert!(error.contains(&directory.display().to_string()), "{error}");
            assert_eq!(files.iter().filter(left).count(), files.len());
        }
    }

    #[test]
    fn a_bundle_of_before_is_replaced() {
        check(&[], true);
        check(&["trace.jsonl", "report.json", "fixtures/a.opus"], true);
    }

    #[test]
    fn nothing_else_is_touched() {
        check(&["notes.txt"], false);
        check(&["report.json", "trace.jsonl", "zebra.txt"], false);
        check(&["cone-cone-1/report.json"], false);
    }

    #[test]
    fn bundles_stand_beside_bundles_only() {
        let above = tempfile::tempdir().expect("a new directory");
        let directory = above.path();
        let bundle = directory.join("cone-cone-1");
        fs::create_dir(&bundle).expect("a new directory");
        fs::write(bundle.join("report.json"), "{}").expect("a new file");
        check_room_for_many(directory).expect("only a bundle is there");
        check_room_for_many(&directory.join("missing")).expect("nothing is there");
        fs::write(bundle.join("notes.txt"), "kept").expect("a new file");
        check_room_for_many(directory).expect_err("notes are in a bundle");
        fs::remove_file(bundle.join("notes.txt")).expect("it is there");
        fs::write(directory.join("report.json"), "{}").expect("a new file");
        let error = check_room_for_many(directory).expect_err("it is a bundle itself");
        assert!(matches!(error, BundleError::OneBundle { .. }), "{error}");
    }

    #[test]
    fn a_file_is_no_directory() {
        let above = tempfile::tempdir().expect("a new directory");
        let file: PathBuf = above.path().join("out");
        fs::write(&file, "kept").expect("a new file");
        let error = make_room(&file).expect_err("it is a file").to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
