//! Types in a program: `Tensor<f32, 1, H>`, `Weight<..>`, `&mut State<..>`, `Weights`.

use mil_core::types::{DType, Dim, TensorType, Type as CoreType};
use syn::{BinOp, Expr, GenericArgument, Lit, PathArguments, Type, UnOp, spanned::Spanned};

use crate::{
    diag::{Diagnostics, Place},
    suggest,
};

/// A type as written. Of a dimension `_` nothing is said.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    Tensor(DType, Vec<Option<Dim>>),
    /// `Tensor` alone: any.
    AnyTensor,
    Weight(DType, Vec<Option<Dim>>),
    /// `Weight` alone.
    AnyWeight,
    /// `Weights`.
    Weights,
    /// `State<..>`; whether it stands behind `&mut`.
    State(DType, Vec<Option<Dim>>, bool),
    Tuple(Vec<Written>),
    /// `[Tensor; 3]`, `&[Tensor]`.
    List(Box<Written>),
    /// `usize`, `f32`, `bool`, `&str`: a constant.
    Constant(String),
    /// `_`.
    Infer,
}

/// Reads types; knows the dimensions that are declared.
pub(crate) struct TypeReader<'a> {
    pub(crate) dims: &'a dyn Fn(&str) -> Option<Dim>,
    pub(crate) names: &'a dyn Fn() -> Vec<String>,
}

const CONSTANTS: [&str; 16] = [
    "usize", "isize", "u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64", "f16", "f32", "f64", "bool", "str",
    "String",
];

impl TypeReader<'_> {
    /// The type; `None` if it is none, which has then been said.
    pub(crate) fn read(&self, ty: &Type, diag: &mut Diagnostics) -> Option<Written> {
        match ty {
            Type::Infer(_) => Some(Written::Infer),
            Type::Paren(p) => self.read(&p.elem, diag),
            Type::Group(g) => self.read(&g.elem, diag),
            Type::Tuple(t) => {
                let items: Vec<_> = t.elems.iter().map(|e| self.read(e, diag)).collect();
                Some(Written::Tuple(items.into_iter().collect::<Option<_>>()?))
            }
            Type::Array(a) => Some(Written::List(Box::new(self.read(&a.elem, diag)?))),
            Type::Slice(s) => Some(Written::List(Box::new(self.read(&s.elem, diag)?))),
            Type::Reference(r) => match self.read(&r.elem, diag)? {
                Written::State(dtype, dims, _) => Some(Written::State(dtype, dims, r.mutability.is_some())),
                other => Some(other),
            },
            Type::Path(p) if p.qself.is_none() => self.path(&p.path, diag),
            other => {
                diag.error(Place::of(other), "expected `Tensor<dtype, dims..>`, `Weight<dtype, dims..>` or `Weights`");
                None
            }
        }
    }

    fn path(&self, path: &syn::Path, diag: &mut Diagnostics) -> Option<Written> {
        let last = path.segments.last()?;
        let name = last.ident.to_string();
        match (&name[..], &last.arguments) {
            ("Tensor", PathArguments::None) => Some(Written::AnyTensor),
            ("Weight", PathArguments::None) => Some(Written::AnyWeight),
            ("Weights", PathArguments::None) => Some(Written::Weights),
            ("Tensor", PathArguments::AngleBracketed(a)) => {
                self.tensor(a, diag).map(|(dtype, dims)| Written::Tensor(dtype, dims))
            }
            ("Weight", PathArguments::AngleBracketed(a)) => {
                self.tensor(a, diag).map(|(dtype, dims)| Written::Weight(dtype, dims))
            }
            ("State", PathArguments::AngleBracketed(a)) => {
                self.tensor(a, diag).map(|(dtype, dims)| Written::State(dtype, dims, false))
            }
            (constant, PathArguments::None) if CONSTANTS.contains(&constant) => Some(Written::Constant(name)),
            _ => {
                let known = ["Tensor", "Weight", "Weights", "State"];
                let near = suggest::hint(&name, known);
                let message = format!("expected `Tensor`, `Weight`, `Weights` or `State`, found `{name}`{near}");
                diag.error(Place::of(last), message);
                None
            }
        }
    }

    fn tensor(
        &self,
        args: &syn::AngleBracketedGenericArguments,
        diag: &mut Diagnostics,
    ) -> Option<(DType, Vec<Option<Dim>>)> {
        let mut list = args.args.iter();
        let Some(first) = list.next() else {
            diag.error(Place::of(args), "expected an element type and dimensions, such as `<f32, 1, 3>`");
            return None;
        };
        let name = match first {
            GenericArgument::Type(Type::Path(p)) => p.path.segments.last().map(|s| s.ident.to_string()),
            _ => None,
        };
        let dtype = name.as_deref().and_then(DType::parse);
        if dtype.is_none() {
            let near = name.map_or(String::new(), |n| suggest::hint(&n, DType::ALL.iter().map(|d| d.rust_name())));
            let message = format!("expected an element type, such as `f16`, `f32`, `i32` or `bool`{near}");
            diag.error(Place::of(first), message);
        }
        let dims: Vec<Option<Option<Dim>>> = list.map(|arg| self.generic(arg, diag)).collect();
        Some((dtype?, dims.into_iter().collect::<Option<_>>()?))
    }

    /// A dimension: `Some(None)` for `_`, `None` if it is none.
    fn generic(&self, arg: &GenericArgument, diag: &mut Diagnostics) -> Option<Option<Dim>> {
        match arg {
            GenericArgument::Type(Type::Infer(_)) => Some(None),
            GenericArgument::Type(Type::Path(p)) => match p.path.get_ident() {
                Some(ident) => self.named(ident, diag).map(Some),
                None => {
                    let message = "a dimension is a number or a name that the attribute declares; a path to a `const` is \
                                   unknown when macros run: write `NAME = 768` in the attribute";
                    diag.error(Place::of(p), message);
                    None
                }
            },
            GenericArgument::Const(e) => self.dim(e, diag).map(Some),
            other => {
                diag.error(Place::of(other), "expected a dimension: a number or a declared name");
                None
            }
        }
    }

    fn named(&self, ident: &syn::Ident, diag: &mut Diagnostics) -> Option<Dim> {
        let name = ident.to_string();
        let found = (self.dims)(&name);
        if found.is_none() {
            let names = (self.names)();
            let near = suggest::hint(&name, names.iter().map(String::as_str));
            let declare = if near.is_empty() {
                format!("; declare it: `#[mil_program({name} in 1..=1024)]` or `#[mil_program({name} = 768)]`")
            } else {
                near
            };
            diag.error(Place::of(ident), format!("the dimension `{name}` is not declared{declare}"));
        }
        found
    }

    /// `{ H * 2 }`, `{ (H + 1) / 2 }`, `3`.
    pub(crate) fn dim(&self, e: &Expr, diag: &mut Diagnostics) -> Option<Dim> {
        match e {
            Expr::Lit(l) => match &l.lit {
                Lit::Int(i) => match i.base10_parse::<i64>() {
                    Ok(n) => Some(Dim::from(n)),
                    Err(e) => {
                        diag.syntax(e);
                        None
                    }
                },
                _ => self.no_dim(e, diag),
            },
            Expr::Path(p) if p.path.get_ident().is_some() => self.named(p.path.get_ident()?, diag),
            Expr::Paren(p) => self.dim(&p.expr, diag),
            Expr::Group(g) => self.dim(&g.expr, diag),
            Expr::Block(b) => match &b.block.stmts[..] {
                [syn::Stmt::Expr(inner, None)] => self.dim(inner, diag),
                _ => self.no_dim(e, diag),
            },
            Expr::Unary(u) if matches!(u.op, UnOp::Neg(_)) => {
                diag.error(Place::of(e), "a dimension is not negative; for one of flexible size declare a name");
                None
            }
            Expr::Binary(b) => {
                let (left, right) = (self.dim(&b.left, diag), self.dim(&b.right, diag));
                let (left, right) = (left?, right?);
                match b.op {
                    BinOp::Add(_) => Some(left + right),
                    BinOp::Sub(_) => Some(left - right),
                    BinOp::Mul(_) => Some(left * right),
                    BinOp::Div(_) => match right.value() {
                        Some(n) if n > 0 => Some(left.floor_div(n)),
                        _ => {
                            diag.error(Place::of(&b.right), "a dimension is divided by a positive number");
                            None
                        }
                    },
                    _ => self.no_dim(e, diag),
                }
            }
            _ => self.no_dim(e, diag),
        }
    }

    fn no_dim(&self, e: &Expr, diag: &mut Diagnostics) -> Option<Dim> {
        diag.error(Place::of(e), "expected a dimension: a number, a declared name, or `{..}` with `+ - * /` of those");
        let _ = e.span();
        None
    }
}

/// The tensor type, if every dimension is written.
pub(crate) fn complete(dtype: DType, dims: &[Option<Dim>]) -> Option<TensorType> {
    Some(TensorType::new(dtype, dims.iter().cloned().collect::<Option<Vec<_>>>()?))
}

/// Whether a value of this type is what was written.
pub(crate) fn matches(dtype: DType, dims: &[Option<Dim>], found: &CoreType) -> bool {
    let Some(t) = found.tensor() else { return false };
    let same = |(written, dim): (&Option<Dim>, &Dim)| written.as_ref().is_none_or(|w| w == dim);
    t.dtype == dtype && t.rank() == dims.len() && dims.iter().zip(t.shape.iter()).all(same)
}

/// Whether this is a state that holds what was written.
pub(crate) fn matches_state(dtype: DType, dims: &[Option<Dim>], found: &CoreType) -> bool {
    matches!(found, CoreType::State(t) if matches(dtype, dims, &t.clone().into()))
}

/// `Tensor<f32, 1, _>`, for messages.
pub(crate) fn describe(word: &str, dtype: DType, dims: &[Option<Dim>]) -> String {
    let dims: String = dims.iter().map(|d| d.as_ref().map_or(", _".into(), |d| format!(", {d}"))).collect();
    format!("{word}<{dtype}{dims}>")
}
