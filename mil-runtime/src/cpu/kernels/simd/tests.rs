//! Every instruction set of this machine does what the trait says.

use half::f16;
use proptest::prelude::*;

use super::{Isa, Simd, dispatch};
use crate::cpu::kernels::scaled::testing::cases;

/// What one vector gives: each result 16 elements apart.
#[inline(always)]
unsafe fn generic<S: Simd>(a: &[f32; 16], b: &[f32; 16], c: &[f32; 16], n: usize, out: &mut Vec<[f32; 16]>) {
    // SAFETY: 16 elements are there for at most 16 lanes.
    unsafe {
        let mut put = |f: &dyn Fn(S::V, S::V, S::V) -> S::V| {
            let mut o = [0f32; 16];
            for at in (0..16).step_by(S::LANES) {
                let v = f(S::load(a.as_ptr().add(at)), S::load(b.as_ptr().add(at)), S::load(c.as_ptr().add(at)));
                S::store(o.as_mut_ptr().add(at), v);
            }
            out.push(o);
        };
        put(&|a, b, _| S::add(a, b));
        put(&|a, b, _| S::sub(a, b));
        put(&|a, b, _| S::mul(a, b));
        put(&|a, b, _| S::div(a, b));
        put(&|a, b, _| S::min(a, b));
        put(&|a, b, _| S::max(a, b));
        put(&|a, _, _| S::abs(a));
        put(&|a, _, _| S::sqrt(S::abs(a)));
        put(&|a, _, _| S::round(a));
        put(&|a, _, _| S::floor(a));
        put(&|a, b, c| S::select(S::lt(a, b), c, a));
        put(&|a, b, c| S::select(S::eq(a, b), c, b));
        put(&|a, b, _| S::copysign(a, b));
        put(&|a, _, _| S::half(a));
        put(&|a, b, c| S::mul_add(a, b, c));
        put(&|a, b, c| S::neg_mul_add(a, b, c));
        put(&|a, b, _| S::scale(S::split(S::abs(a)).0, S::round(b)));
        put(&|a, _, _| S::split(S::abs(a)).1);
        let n = n.min(S::LANES);
        let mut o = [7f32; 16];
        S::store_first(o.as_mut_ptr(), S::load_first(a.as_ptr(), n), n);
        out.push(o);
        let mut o = [7f32; 16];
        S::store(o.as_mut_ptr(), S::load_first(a.as_ptr(), n));
        out.push(o);
        let v = S::load(a.as_ptr());
        out.push([S::reduce_add(v), S::reduce_max(v), S::reduce_min(v)].repeat(6)[..16].try_into().unwrap());
        let (mut halves, mut o) = ([0u16; 16], [0f32; 16]);
        S::store_f16(halves.as_mut_ptr(), v);
        S::store(o.as_mut_ptr(), S::load_f16(halves.as_ptr()));
        out.push(o);
        let bytes: [u8; 16] = std::array::from_fn(|i| (a[i].to_bits() >> 20) as u8);
        let mut o = [0f32; 16];
        S::store(o.as_mut_ptr(), S::add(S::load_u8(bytes.as_ptr()), S::load_i8(bytes.as_ptr().cast())));
        out.push(o);
        let mut o = [0f32; 16];
        S::store(o.as_mut_ptr(), S::load_twice(a.as_ptr()));
        out.push(o);
        S::prefetch(a.as_ptr());
        S::prefetch_far(a.as_ptr());
        S::prefetch_write(a.as_ptr());
        out.push([S::reduce_add(S::splat(1.5)) / S::LANES as f32; 16]);
    }
}

dispatch! { unsafe fn all(a: &[f32; 16], b: &[f32; 16], c: &[f32; 16], n: usize, out: &mut Vec<[f32; 16]>) = super::tests::generic }

fn expected(a: &[f32; 16], b: &[f32; 16], c: &[f32; 16], n: usize, lanes: usize) -> Vec<[f32; 16]> {
    let half = |x: f32| f16::from_f32(x).to_f32();
    let each = |f: &dyn Fn(f32, f32, f32) -> f32| std::array::from_fn(|i| f(a[i], b[i], c[i]));
    let (mantissa, exponent) = (
        |x: f32| f32::from_bits(x.abs().to_bits() & 0x7f_ffff | 0x3f80_0000),
        |x: f32| (x.abs().to_bits() >> 23) as f32 - 127.0,
    );
    let scaled = |a: f32, b: f32| (f64::from(mantissa(a)) * f64::from(b.round_ties_even()).exp2()) as f32;
    let n = n.min(lanes);
    let first: [f32; 16] = std::array::from_fn(|i| if i < n { a[i] } else { 7.0 });
    let zeros: [f32; 16] = std::array::from_fn(|i| {
        if i < n {
            a[i]
        } else if i < lanes {
            0.0
        } else {
            7.0
        }
    });
    let v = &a[..lanes];
    let sum = v.iter().map(|x| f64::from(*x)).sum::<f64>() as f32;
    let (max, min) = (v.iter().copied().fold(f32::MIN, f32::max), v.iter().copied().fold(f32::MAX, f32::min));
    let byte = |x: f32| (x.to_bits() >> 20) as u8;
    vec![
        each(&|a, b, _| a + b),
        each(&|a, b, _| a - b),
        each(&|a, b, _| a * b),
        each(&|a, b, _| a / b),
        each(&|a, b, _| if a < b { a } else { b }),
        each(&|a, b, _| if a > b { a } else { b }),
        each(&|a, _, _| a.abs()),
        each(&|a, _, _| a.abs().sqrt()),
        each(&|a, _, _| a.round_ties_even()),
        each(&|a, _, _| a.floor()),
        each(&|a, b, c| if a < b { c } else { a }),
        each(&|a, b, c| if a == b { c } else { b }),
        each(&|a, b, _| a.copysign(b)),
        each(&|a, _, _| half(a)),
        each(&|a, b, c| a.mul_add(b, c)),
        each(&|a, b, c| (-a).mul_add(b, c)),
        each(&|a, b, _| scaled(a, b)),
        each(&|a, _, _| exponent(a)),
        first,
        zeros,
        [sum, max, min].repeat(6)[..16].try_into().unwrap(),
        std::array::from_fn(|i| if i < lanes { half(a[i]) } else { 0.0 }),
        std::array::from_fn(|i| if i < lanes { f32::from(byte(a[i])) + f32::from(byte(a[i]) as i8) } else { 0.0 }),
        std::array::from_fn(|i| if i < lanes { a[i / 2] } else { 0.0 }),
        [1.5; 16],
    ]
}

proptest! {
    #![proptest_config(cases(64, 2))]

    #[test]
    fn sets_do_what_the_trait_says(
        a in prop::array::uniform16(-1e3f32..1e3),
        b in prop::array::uniform16(-180f32..160.0),
        c in prop::array::uniform16(-1e3f32..1e3),
        n in 0usize..=16,
    ) {
        for isa in Isa::available() {
            let mut got = vec![];
            // SAFETY: `generic` has no conditions.
            unsafe { all(isa, &a, &b, &c, n, &mut got) };
            let expected = expected(&a, &b, &c, n, isa.lanes());
            for (at, (got, expected)) in got.iter().zip(&expected).enumerate() {
                for (g, e) in got.iter().zip(expected) {
                    // Fused or not, and sums in any order.
                    let bound = if matches!(at, 14 | 15 | 20) { 2e-7 * 2e5 } else { 0.0 };
                    prop_assert!(g.to_bits() == e.to_bits() || (g - e).abs() <= bound, "{isa:?}, result {at}: {g} for {e}");
                }
            }
        }
    }
}

#[test]
fn nan_gives_the_second() {
    let (nan, one) = ([f32::NAN; 16], [1f32; 16]);
    for isa in Isa::available() {
        let mut got = vec![];
        // SAFETY: `generic` has no conditions.
        unsafe { all(isa, &nan, &one, &one, 1, &mut got) };
        assert_eq!((got[4], got[5], got[10][0].is_nan(), got[11]), (one, one, true, one), "{isa:?}");
    }
}

#[test]
fn an_instruction_set_can_be_named() {
    let all = Isa::available();
    assert_eq!(all.last(), Some(&Isa::SCALAR));
    assert!(all.contains(&Isa::chosen()));
}
