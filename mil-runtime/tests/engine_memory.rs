//! A model's memory does not grow with the number of predictions, whatever shapes they have.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use mil_core::{graph::Graph, ir::Constant, mb, types::TensorType};
use mil_runtime::{AnyTensor, Backend, Model};

/// Counts what is allocated.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to `System` as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        NOW.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those that `System` asks for, and `alloc` got it from there.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test, since the counter is everybody's.
#[test]
fn ten_thousand_predictions_take_no_more_than_some() {
    let mut g = Graph::new("main", mil_core::types::Opset::iOS17);
    let x = g.input("x", "Tensor<f32, 1, 3, H, W>".parse::<TensorType>().unwrap());
    let w = Constant::new([8, 3, 3, 3], &(0..216).map(|i| (i % 7) as f32 / 50.0).collect::<Vec<_>>()).unwrap();
    let y = g.push(mb::conv(&x, w).pad_type("same")).unwrap();
    let y = g.push(mb::relu(&y)).unwrap();
    let y = g.push(mb::max_pool(&y, [2, 2], "same").strides([2, 2])).unwrap();
    let program = g.finish([("y", y)]).unwrap();
    let model = Model::options().backend(Backend::Cpu).from_program(&program).unwrap();
    // More shapes than plans are kept for.
    let shapes: Vec<[usize; 2]> = (0..48).map(|i| [1 + i % 8, 3 + i / 8]).collect();
    let mut most = [0; 10];
    for (thousand, most) in most.iter_mut().enumerate() {
        for n in 0..1000 {
            // Mostly some few, now and then all.
            let [height, width] = shapes[if n % 20 == 0 { (n / 20 + thousand) % 48 } else { n % 12 }];
            let x = AnyTensor::new([1, 3, height, width], vec![0.5f32; 3 * height * width]).unwrap();
            drop(model.predict([("x", x)]).unwrap());
            *most = NOW.load(Relaxed).max(*most);
        }
    }
    // The first thousand has seen all.
    let bound = most[0] + most[0] / 20 + 4096;
    assert!(most.iter().all(|m| *m <= bound), "bytes after each thousand: {most:?}");
}
