//! The weights file: names, dtypes and shapes from its header, checked while the program compiles.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use mil_core::{types::DType, weights::SafeTensorsHeader};
use syn::LitStr;

use crate::{
    attr::WeightsOption,
    diag::{Diagnostics, Place},
    suggest,
    value::Weight,
};

/// Files up to this many bytes become part of the executable unless `embed` says otherwise.
pub(crate) const EMBED_LIMIT: u64 = 4 << 20;

/// Dtype (`None` if MIL does not have it) and shape by name.
type Tensors = BTreeMap<String, (Option<DType>, Vec<usize>)>;

/// What is known of the weights file.
#[derive(Clone, Debug)]
pub(crate) struct WeightsFile {
    /// As the source says it.
    pub(crate) written: LitStr,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Whether it lies relative to the source file, and not to the crate's directory.
    pub(crate) beside_source: bool,
    /// Bytes.
    pub(crate) size: u64,
    /// The float dtype that its floats are converted to.
    pub(crate) convert: Option<DType>,
    tensors: Tensors,
}

impl WeightsFile {
    /// Finds the file and reads its header; what is wrong is told at the path.
    pub(crate) fn open(option: &WeightsOption, diag: &mut Diagnostics) -> Option<WeightsFile> {
        let place = Place::of(&option.path);
        let written = PathBuf::from(option.path.value());
        let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
        let mut path = root.join(&written);
        let mut beside_source = false;
        if !path.is_file()
            && let Some(beside) = source_dir(&option.path).map(|dir| dir.join(&written))
            && beside.is_file()
        {
            (path, beside_source) = (beside, true);
        }
        let size = match std::fs::metadata(&path) {
            Ok(m) if m.is_file() => m.len(),
            Ok(_) => {
                diag.error(place, format!("`{}` is not a file", option.path.value()));
                return None;
            }
            Err(_) => {
                let message = format!(
                    "there is no weights file `{}` in the crate's directory or beside this source file",
                    option.path.value()
                );
                diag.error(place, message);
                return None;
            }
        };
        match read(&path) {
            Ok(tensors) => Some(WeightsFile {
                written: option.path.clone(),
                path,
                beside_source,
                size,
                convert: option.convert,
                tensors,
            }),
            Err(message) => {
                // As the user wrote it, so that the message is the same on every machine.
                let found = path.display().to_string();
                diag.error(place, message.replace(&found, &option.path.value()));
                None
            }
        }
    }

    /// The weight of this name, in the dtype that it has after conversion.
    ///
    /// # Errors
    /// If there is none, or its dtype is none of MIL's.
    pub(crate) fn weight(&self, name: &str) -> Result<Weight, String> {
        let file = self.written.value();
        let Some((dtype, shape)) = self.tensors.get(name) else {
            let hint = suggest::hint(name, self.tensors.keys().map(String::as_str));
            return Err(format!("there is no weight `{name}` in `{file}`{hint}"));
        };
        let dtype =
            dtype.ok_or_else(|| format!("the weight `{name}` in `{file}` has a dtype that MIL does not have"))?;
        let dtype = self.convert.filter(|_| dtype.is_float()).unwrap_or(dtype);
        Ok(Weight { name: name.to_string(), dtype, shape: shape.clone() })
    }

    /// Whether any weight's name begins so.
    pub(crate) fn has_prefix(&self, prefix: &str) -> bool {
        let dotted = format!("{prefix}.");
        self.tensors.range(dotted.clone()..).next().is_some_and(|(name, _)| name.starts_with(&dotted))
    }

    #[cfg(test)]
    pub(crate) fn for_tests(tensors: &[(&str, DType, &[usize])]) -> WeightsFile {
        let entry = |(name, dtype, shape): &(&str, DType, &[usize])| (name.to_string(), (Some(*dtype), shape.to_vec()));
        WeightsFile {
            written: LitStr::new("test.safetensors", proc_macro2::Span::call_site()),
            path: "test.safetensors".into(),
            beside_source: false,
            size: 0,
            convert: None,
            tensors: tensors.iter().map(entry).collect(),
        }
    }
}

fn read(path: &Path) -> Result<Tensors, String> {
    let header = SafeTensorsHeader::open(path).map_err(|e| e.to_string())?;
    let entry = |(name, info): (&str, &mil_core::weights::TensorInfo)| {
        (name.to_string(), (info.dtype.dtype(), info.shape.clone()))
    };
    Ok(header.iter().map(entry).collect())
}

/// The directory of the source file, as `include_bytes!` has it.
fn source_dir(at: &LitStr) -> Option<PathBuf> {
    // Outside of a macro call, in this crate's tests, there is no source file.
    if !proc_macro::is_available() {
        return None;
    }
    at.span().unwrap().local_file()?.parent().map(Path::to_path_buf)
}
