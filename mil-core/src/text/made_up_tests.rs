//! Made-up constants, attributes, names and sizes through their text.

use proptest::prelude::*;

use crate::{
    graph::Graph,
    ir::{Attribute, Constant},
    mb,
    types::{DType, Dim, Domain, Opset, Symbol, TensorType},
};

#[path = "../../tests/hostile/text.rs"]
mod through;

fn constants() -> impl Strategy<Value = Constant> {
    let shape = prop::collection::vec(0usize..4, 0..4);
    let dtype = prop::sample::select(DType::ALL.to_vec());
    let random = (dtype, shape, prop::collection::vec(any::<u8>(), 27 * 8), prop::collection::vec(".*", 27));
    random.prop_map(|(dtype, shape, bytes, strings)| {
        let count = shape.iter().product();
        if dtype == DType::String {
            return Constant::strings(shape, strings[..count].to_vec()).unwrap();
        }
        let mut bytes = bytes[..dtype.packed_len(count).unwrap()].to_vec();
        // What is no element is no part of the constant: bools are 0 or 1, and the bits behind the last are zero.
        if dtype == DType::Bool {
            bytes.iter_mut().for_each(|b| *b &= 1);
        }
        let used = count * dtype.bits() % 8;
        if let (Some(last), 1..) = (bytes.last_mut(), used) {
            *last &= (1 << used) - 1;
        }
        Constant::from_bytes(dtype, shape, bytes).unwrap()
    })
}

fn attributes() -> impl Strategy<Value = Attribute> {
    constants().prop_map(Attribute::Tensor).prop_recursive(3, 12, 3, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            items.prop_map(Attribute::Tuple),
            // Lists and dictionaries hold values of one type.
            (inner.clone(), 1usize..3).prop_map(|(a, n)| Attribute::List(a.ty(), vec![a; n])),
            (constants(), inner).prop_map(|(k, v)| Attribute::Dictionary {
                key: k.ty().into(),
                value: v.ty(),
                entries: vec![(Attribute::Tensor(k), v)],
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Constants of every dtype, attributes everywhere, names of all characters, sizes of all domains.
    #[test]
    fn made_up_values(
        constants in prop::collection::vec(constants(), 1..4),
        attributes in prop::collection::vec((".{1,6}", attributes()), 0..4),
        name in "\\PC{1,8}|.{1,4}|[a-z_][a-z0-9_@]{0,8}",
        // An op may be called anything; a value's name has letters, digits and `_`, and is no word of MIL.
        value in "y_[a-zA-Z0-9_]{0,8}",
        (min, more) in (1i64..1 << 40, prop::option::of(0i64..1 << 40)),
        sizes in prop::collection::btree_set(1i64..100, 1..4),
        opset in prop::sample::select(Opset::ALL.to_vec()),
    ) {
        let mut g = Graph::new("main", opset);
        let h = Symbol::new("H", Domain::Range { min, max: more.map(|m| min + m) });
        let w = Symbol::new("W", Domain::OneOf(sizes.into_iter().collect()));
        let x = g.input("x", TensorType::new(DType::F32, [Dim::from(h), Dim::from(2)]));
        let z = g.input("z", TensorType::new(DType::F32, [Dim::from(w)]));
        let y = g.push(mb::relu(&x)).unwrap();
        // Which dtypes an opset's constants may have is validation's matter; all may be in attributes.
        let narrow = |d: DType| matches!(d, DType::I16 | DType::U16) || d.is_sub_byte();
        let fits = |c: &Constant| opset >= Opset::iOS18 || !narrow(c.dtype());
        constants.into_iter().filter(fits).for_each(|c| drop(g.constant("c", c)));
        let mut program = g.finish([("y", y), ("z", z)]).unwrap();
        program.attributes.extend(attributes.iter().cloned());
        let f = program.functions.get_mut("main").unwrap();
        f.attributes.extend(attributes.iter().cloned());
        f.blocks[0].attributes.extend(attributes.iter().cloned());
        f.ops[0].attributes.extend(attributes);
        f.ops[0].name = name;
        let output = f.ops[0].outputs[0];
        f.values[output.index()].name = value;
        prop_assert!(through::round_trip(&program).is_some());
    }
}
