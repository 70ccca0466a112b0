//! Programs as packages: weights stay in their file, mapped, until somebody computes with them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    io::BufWriter,
    path::Path,
};

use super::{PackageError, PackageReader, PackageWriter, WEIGHT_FILE, WEIGHTS_NAME};
use crate::{
    ir::{Constant, Program},
    spec::{SpecError, WeightSink, WeightSource, decode, encode, values},
    text,
    types::{DType, Opset, TensorType},
    weights::{BlobFile, BlobWriter},
};

impl Program {
    /// Reads the ML Program in a `.mlpackage`, `.mlmodel`, compiled `.mlmodelc`, or file of MIL text (`.mil`). Constants
    /// in weight files are memory-mapped, not read.
    ///
    /// # Errors
    /// If the file is no such model, is damaged, or uses what is not supported; the error names file, function and op.
    pub fn load(path: impl AsRef<Path>) -> Result<Program, PackageError> {
        Program::from_package(&PackageReader::open(path)?)
    }

    /// Reads the ML Program in an open package; see [`Program::load`].
    ///
    /// # Errors
    /// As [`Program::load`].
    pub fn from_package(package: &PackageReader) -> Result<Program, PackageError> {
        let blobs = Blobs { package, open: RefCell::default() };
        if let Some((text, beside)) = package.text()? {
            return text::program(text, beside, &blobs)
                .map_err(|e| PackageError::new(package.model_path(), e.one_line()));
        }
        let model = package.model()?;
        decode(&model, &blobs).map_err(|e| PackageError::new(package.path(), e.to_string()))
    }

    /// Writes the program as a `.mlpackage`: whole, or not at all.
    ///
    /// # Errors
    /// If a weight is not attached, the program cannot be encoded, or the files cannot be written. What was at `path`
    /// before is then still there.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PackageError> {
        self.save_checked(path, |_| Ok::<_, PackageError>(()))
    }

    /// As [`Program::save`], but what `check` says of the complete package counts: it gets the path of a directory that is read
    /// like a package, and only if it is content does the package go to its place.
    ///
    /// # Errors
    /// As [`Program::save`], and what `check` gives. What was at `path` before is then still there, and nothing else.
    pub fn save_checked<E: From<PackageError>>(
        &self,
        path: impl AsRef<Path>,
        check: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = path.as_ref();
        let mut package = PackageWriter::create(path)?;
        let mut sink = Sink { package: &mut package, opset: self.opset, written: HashMap::new() };
        let model = encode(self, &mut sink).map_err(|e| PackageError::new(path, e.to_string()))?;
        package.finish_checked(&model, check)
    }
}

/// The weight files of a package, each opened once.
struct Blobs<'a> {
    package: &'a PackageReader,
    open: RefCell<BTreeMap<String, BlobFile>>,
}

impl WeightSource for Blobs<'_> {
    fn get(&self, file: &str, offset: u64, ty: &TensorType) -> Result<Constant, SpecError> {
        let mut open = self.open.borrow_mut();
        if !open.contains_key(file) {
            let blob = self.package.blob_file(file).map_err(|e| SpecError::new(e.to_string()))?;
            open.insert(file.to_string(), blob);
        }
        let entry = open[file].get(offset).map_err(|e| SpecError::new(e.to_string()))?;
        values::from_blob(entry, ty)
    }
}

/// Bytes that were written already: where they lie in memory, how many, as what.
type Written = HashMap<(*const u8, usize, DType), u64>;

/// The weight file of a package that is being written.
struct Sink<'a> {
    package: &'a mut PackageWriter,
    opset: Opset,
    written: Written,
}

impl WeightSink for Sink<'_> {
    fn put(&mut self, constant: &Constant) -> Result<Option<(String, u64)>, SpecError> {
        let dtype = values::blob_dtype(constant.dtype());
        let (Some(dtype), Some(bytes)) = (dtype, constant.bytes()) else { return Ok(None) };
        if !values::belongs_into_file(constant, self.opset.spec_version()) {
            return Ok(None);
        }
        let file = format!("@model_path/{WEIGHTS_NAME}/{WEIGHT_FILE}");
        // Constants that share their bytes in memory share them in the file.
        let key = (bytes.as_ptr(), bytes.len(), constant.dtype());
        if let Some(&offset) = self.written.get(&key) {
            return Ok(Some((file, offset)));
        }
        let count = constant.count() as u64;
        let failed = |e: &dyn std::fmt::Display| SpecError::new(format!("the weight file cannot be written: {e}"));
        let blobs: &mut BlobWriter<BufWriter<_>> = self.package.weights().map_err(|e| failed(&e))?;
        let offset = blobs.append(dtype, count, bytes).map_err(|e| failed(&e))?;
        // Nobody computes with it any more, or not soon: a model larger than the memory is written in passing.
        bytes.release();
        self.written.insert(key, offset);
        Ok(Some((file, offset)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{graph::Graph, mb};

    fn program() -> Program {
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", "Tensor<f32, 1, 3, H, W>".parse::<TensorType>().unwrap());
        let weights: Vec<f32> = (0..4 * 3 * 9).map(|i| i as f32).collect();
        let w = Constant::new([4, 3, 3, 3], &weights).unwrap();
        let y = g.push(mb::conv(&x, &w).pad_type("same")).unwrap();
        let z = g.push(mb::conv(&x, &w)).unwrap();
        g.finish([("y", y), ("z", z)]).unwrap()
    }

    fn constants(p: &Program) -> Vec<Constant> {
        let f = p.main().unwrap();
        f.walk().into_iter().filter_map(|o| f.op(o).constant().cloned()).collect()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.mlpackage"), dir.path().join("b.mlpackage"));
        let p = program();
        p.save(&a).unwrap();
        let q = Program::load(&a).unwrap();
        assert_eq!(constants(&p), constants(&q));
        assert_eq!(
            q.main().unwrap().value(q.main().unwrap().outputs()[0]).ty.to_string(),
            "Tensor<f32, 1, 4, x_2, x_3>"
        );
        q.save(&b).unwrap();
        for file in ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"]
        {
            assert_eq!(std::fs::read(a.join(file)).unwrap(), std::fs::read(b.join(file)).unwrap(), "{file}");
        }
        let shared = std::fs::metadata(a.join("Data/com.apple.CoreML/weights/weight.bin")).unwrap().len();
        assert_eq!(shared, 64 + 64 + 4 * 3 * 9 * 4, "the kernel is written once");
    }

    #[test]
    fn an_unattached_weight_is_not_saved() {
        let dir = tempfile::tempdir().unwrap();
        let mut g = Graph::new("main", Opset::iOS17);
        let x = g.input("x", TensorType::new(DType::F32, [2]));
        let y = g.push(mb::add(&x, Constant::weight("bias", DType::F32, [2]))).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        let path = dir.path().join("a.mlpackage");
        assert!(p.save(&path).unwrap_err().to_string().contains("weight `bias` is not attached"));
        assert!(!path.exists());
        assert!(p.attach_weights(&|_| Some(Constant::scalar(1f32))).unwrap_err().contains("Tensor<f32, 2>"));
        p.attach_weights(&|_| Some(Constant::vector(&[1f32, 2.0]))).unwrap();
        p.save(&path).unwrap();
    }
}
