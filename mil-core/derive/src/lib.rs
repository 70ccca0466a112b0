//! `#[derive(Op)]`: one struct is one op. Internal to `mil-core`, whose `op` module says what it is for.
//!
//! The derive writes only what is boring: the constructor, the setters, the definition as data, and binding by name.

mod dtypes;
mod expand;
mod model;

/// Derives `mil_core::op::Op`.
///
/// On the struct: `#[op(name = "conv", since = iOS15, outputs = 1)]` (`outputs` is a number or `variadic`; `blocks = 2` for
/// ops with nested blocks; `constructor = false` if the op is not made by a call), and one
/// `#[domain(T = F16 | F32, iOS17 = F16 | F32 | I8)]` per dtype variable.
///
/// On a field: `#[dtype(T)]`, `#[dtype(F16 | F32)]`, `#[dtype(T, iOS17 = U)]`; `#[default(expr)]`, where the expression
/// may use the fields above it; `#[since(iOS17)]`; `#[constant]` or `#[constant(until = iOS17)]` on tensors that must be
/// known when the program is built; `#[in_place]` on what files hold in the op itself and not in a `const`. A field of type
/// `Option<..>` may be absent; with `#[until(iOS17)]` it is there before that opset only, and with `#[needed]` it must be
/// given in the opsets that have it.
///
/// `#[form(Attributes, iOS18 = InPlace)]` on the struct makes it a `constexpr_` op, and says by opset how its parameters
/// stand in a file (`mil_core::op::Form`); such an op implements `mil_core::op::Materialize` too.
#[proc_macro_derive(Op, attributes(op, domain, dtype, default, since, until, needed, constant, in_place, form))]
pub fn derive_op(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    let model = model::Model::parse(&input);
    model.map(|m| expand::expand(&m)).unwrap_or_else(|e| e.to_compile_error()).into()
}
