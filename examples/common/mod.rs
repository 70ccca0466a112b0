//! What the examples share: where they write.

use std::{error::Error, fs, path::PathBuf};

/// The directory that the examples write to: what `MIL_EXAMPLES_OUT` says, else `target/mil-examples`.
///
/// # Errors
/// If it cannot be made.
pub(crate) fn output_dir() -> Result<PathBuf, Box<dyn Error>> {
    let dir = match std::env::var_os("MIL_EXAMPLES_OUT") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/mil-examples")),
    };
    fs::create_dir_all(&dir).map_err(|e| format!("`{}` cannot be made: {e}", dir.display()))?;
    Ok(dir)
}
