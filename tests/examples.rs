//! Every example runs, as a part of the tests, and the packages that it writes read as the snapshots say.
//!
//! The unit tests of the examples' modules run here too.
#![allow(clippy::duplicate_mod)]

use std::{error::Error, path::Path};

use mil::prelude::*;

#[path = "../examples/add.rs"]
mod add;
#[path = "../examples/atan2.rs"]
mod atan2;
#[path = "../examples/builder.rs"]
mod builder;
#[path = "../examples/convnet.rs"]
mod convnet;
#[path = "../examples/detect_faces/main.rs"]
mod detect_faces;
#[path = "../examples/log10.rs"]
mod log10;
#[path = "../examples/matmul.rs"]
mod matmul;
#[path = "../examples/newton.rs"]
mod newton;
#[path = "../examples/sqrt.rs"]
mod sqrt;
