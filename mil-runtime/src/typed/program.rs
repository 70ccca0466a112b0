//! Programs with their signature.

use std::{
    collections::HashMap,
    fmt,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    path::Path,
};

use mil_core::{
    ir::{Constant, Program as IrProgram},
    package::PackageError,
    types::DType,
    weights::{Bytes, SafeTensors},
};

use super::convert;

/// A program with the signature `S`, as `#[mil_program]` gives it: `Program<fn(Tensor<f32, 2>) -> Tensor<f32, 2>>`.
///
/// It is a [`mil_core::ir::Program`] with a type: whatever that can do this can, [`save`](IrProgram::save) among it.
///
/// # Weights
/// A program whose `weights = "file.safetensors"` is small (up to 4 MiB, or any with `embed = true`) holds them already. Of
/// others the file was only checked while the program compiled: [`Program::load_weights`] maps it into memory, or
/// [`Program::with_weights`] another file with the same tensors.
pub struct Program<S> {
    program: IrProgram,
    /// The file that the weights were checked against, if they are not attached.
    weights: Option<&'static str>,
    signature: PhantomData<fn() -> S>,
}

/// Where the weights of an embedded program come from.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Embedded {
    /// There are none, or nobody said.
    None,
    /// They are in the binary; and the name of the file they come from.
    Bytes(&'static [u8], &'static str),
    /// They are in this file.
    File(&'static str),
}

impl<S> Program<S> {
    /// Reads what `#[mil_program]` has written.
    ///
    /// # Panics
    /// If the macro and this crate are not of the same version.
    #[doc(hidden)]
    pub fn embedded(bytes: &'static [u8], weights: Embedded) -> Program<S> {
        let program = mil_core::spec::embed::from_bytes(bytes);
        let program = program.unwrap_or_else(|e| panic!("`#[mil_program]` is of another version than `mil`: {e}"));
        let mut program = Program { program, weights: None, signature: PhantomData };
        match weights {
            Embedded::None => {}
            Embedded::File(path) => program.weights = Some(path),
            Embedded::Bytes(bytes, path) => {
                let attached = SafeTensors::from_bytes(Bytes::from_owner(bytes), path)
                    .and_then(|file| program.attach(&file, Path::new(path)));
                // The file was checked by the macro before rustc included it.
                attached.unwrap_or_else(|e| panic!("the weights changed while the program compiled: {e}"));
            }
        }
        program
    }

    /// Gives a program a signature, unchecked: predictions tell where it is wrong.
    pub fn from_untyped(program: IrProgram) -> Program<S> {
        Program { program, weights: None, signature: PhantomData }
    }

    /// The program without its signature.
    pub fn into_untyped(self) -> IrProgram {
        self.program
    }

    /// The file that the weights were checked against, if they are not part of the program yet.
    pub fn weights_path(&self) -> Option<&Path> {
        self.weights.map(Path::new)
    }

    /// Attaches the weights of the file that the program was compiled with. It is mapped into memory, not read.
    ///
    /// # Errors
    /// If the file is gone, or is not what it was.
    pub fn load_weights(self) -> Result<Program<S>, PackageError> {
        match self.weights {
            Some(path) => self.with_weights(path),
            None => Ok(self),
        }
    }

    /// Attaches the weights of a safetensors file, which is mapped into memory, not read. Floats are converted where the
    /// program wants another float dtype.
    ///
    /// # Errors
    /// If the file cannot be read, a weight is missing, or one is of another shape or dtype; the error names it.
    pub fn with_weights(mut self, path: impl AsRef<Path>) -> Result<Program<S>, PackageError> {
        let path = path.as_ref();
        let file = SafeTensors::open(path)?;
        self.attach(&file, path)?;
        self.weights = None;
        Ok(self)
    }

    fn attach(&mut self, file: &SafeTensors, path: &Path) -> Result<(), PackageError> {
        let mut constants: HashMap<String, Constant> = HashMap::new();
        for (name, dtype) in self.wanted() {
            let Some(entry) = file.get(&name) else { continue }; // `attach_weights` says so
            let c = convert::constant(&entry, dtype);
            let c = c.map_err(|e| PackageError::new(path, format!("the weight `{name}` {e}")))?;
            constants.insert(name, c);
        }
        self.program.attach_weights(&|name| constants.get(name).cloned()).map_err(|e| PackageError::new(path, e))
    }

    /// Names and dtypes of the weights that are not attached.
    fn wanted(&self) -> Vec<(String, DType)> {
        let functions = self.program.functions.values();
        let ops = functions.flat_map(|f| f.walk().into_iter().map(move |op| f.op(op)));
        let constants = ops.flat_map(|op| op.constants());
        constants.filter_map(|c| Some((c.weight_name()?.to_string(), c.dtype()))).collect()
    }
}

impl<S> Deref for Program<S> {
    type Target = IrProgram;
    fn deref(&self) -> &IrProgram {
        &self.program
    }
}

impl<S> DerefMut for Program<S> {
    fn deref_mut(&mut self) -> &mut IrProgram {
        &mut self.program
    }
}

impl<S> AsRef<IrProgram> for Program<S> {
    fn as_ref(&self) -> &IrProgram {
        &self.program
    }
}

impl<S> From<Program<S>> for IrProgram {
    fn from(p: Program<S>) -> IrProgram {
        p.program
    }
}

impl<S> Clone for Program<S> {
    fn clone(&self) -> Program<S> {
        Program { program: self.program.clone(), weights: self.weights, signature: PhantomData }
    }
}

impl<S> fmt::Debug for Program<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("program", &self.program).field("weights", &self.weights).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil_core::{
        graph::Graph,
        mb,
        types::{Opset, TensorType},
        weights::{SafeDType, TensorView, write_safetensors},
    };

    fn program() -> Program<fn()> {
        let mut g = Graph::new("main", Opset::iOS16);
        let x = g.input("x", TensorType::new(DType::F16, [2]));
        let w = g.constant("w", Constant::weight("layer.w", DType::F16, [2]));
        let y = g.push(mb::add(&x, &w)).unwrap();
        Program::from_untyped(g.finish([("y", y)]).unwrap())
    }

    fn write(path: &Path, name: &str, shape: &[usize], values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let view = TensorView { name, dtype: SafeDType::F32, shape, bytes: &bytes };
        write_safetensors(path, [view]).unwrap();
    }

    #[test]
    fn weights_are_attached_and_converted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        write(&path, "layer.w", &[2], &[0.5, 1.0]);
        let p = program().with_weights(&path).unwrap();
        assert!(p.wanted().is_empty());
        let f = p.main().unwrap();
        let c = f.walk().into_iter().find_map(|op| f.op(op).constant().cloned()).unwrap();
        assert_eq!(c.floats(), Some(vec![0.5, 1.0]));
    }

    #[test]
    fn a_missing_weight_and_another_shape_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        write(&path, "other", &[2], &[0.5, 1.0]);
        let e = program().with_weights(&path).unwrap_err().to_string();
        assert!(e.contains("no weight named `layer.w`"), "{e}");
        write(&path, "layer.w", &[3], &[0.5, 1.0, 2.0]);
        let e = program().with_weights(&path).unwrap_err().to_string();
        assert!(e.contains("w.safetensors") && e.contains("Tensor<f16, 3>"), "{e}");
        assert!(program().with_weights(dir.path().join("gone")).is_err());
    }
}
