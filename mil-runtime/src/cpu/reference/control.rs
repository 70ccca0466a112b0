//! `identity`. (`const`, `cond` and `while_loop` are the executor's own business.)

use mil_core::ops::control::Identity;

use super::{Cx, Kernel, KernelDef};
use crate::{error::RunError, tensor::AnyTensor};

pub(super) const KERNELS: &[KernelDef] = &[KernelDef::of::<Identity>()];

impl Kernel for Identity {
    fn run(&self, cx: &Cx<'_>) -> Result<Vec<AnyTensor>, RunError> {
        Ok(vec![cx.get(&self.x)?.into_owned()])
    }
}
