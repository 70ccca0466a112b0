//! The arguments of `#[mil_program(..)]`.

use std::collections::BTreeMap;

use mil_core::{
    ir::{Metadata, Program},
    types::{DType, Dim, Domain, Opset, Symbol},
};
use syn::{
    Ident, LitBool, LitInt, LitStr, Result, Token, Type, bracketed,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

use crate::{
    diag::{Diagnostics, Place},
    suggest,
};

/// The options that are set with `=`.
const OPTIONS: [&str; 8] = ["opset", "weights", "embed", "default", "description", "author", "license", "version"];

/// `weights = "file.safetensors" as f16`.
#[derive(Clone)]
pub(crate) struct WeightsOption {
    pub(crate) path: LitStr,
    /// The float dtype that the file's floats are converted to.
    pub(crate) convert: Option<DType>,
}

/// The arguments of `#[mil_program(..)]`.
#[derive(Default)]
pub(crate) struct ProgramAttr {
    pub(crate) opset: Opset,
    pub(crate) weights: Option<WeightsOption>,
    /// Whether the weights are part of the executable; `None`: if the file is small.
    pub(crate) embed: Option<bool>,
    /// `H in 64..=512` and `HIDDEN = 768`.
    pub(crate) dims: BTreeMap<String, Dim>,
    /// `x: Tensor<f32, 4>`: types of parameters that have none of their own.
    pub(crate) types: Vec<(Ident, Type)>,
    /// In a module: the function that runs when none is named, of a program that has them all.
    pub(crate) default: Option<Ident>,
    /// What the model says of itself.
    pub(crate) metadata: Metadata,
    /// Show the shadow to rustc too (our own tests check that it compiles).
    pub(crate) check_shadow: bool,
}

enum Arg {
    Option(Ident, Setting),
    Symbol(Ident, Domain),
    Type(Ident, Box<Type>),
}

enum Setting {
    Ident(Ident),
    Text(LitStr, Option<Ident>),
    Int(LitInt),
    Bool(LitBool),
}

impl Parse for Arg {
    fn parse(input: ParseStream<'_>) -> Result<Arg> {
        let name: Ident = input.parse()?;
        if input.parse::<Option<Token![=]>>()?.is_some() {
            let look = input.lookahead1();
            let setting = if look.peek(LitStr) {
                let text = input.parse()?;
                let convert = input.parse::<Option<Token![as]>>()?.map(|_| input.parse()).transpose()?;
                Setting::Text(text, convert)
            } else if look.peek(LitInt) {
                Setting::Int(input.parse()?)
            } else if look.peek(LitBool) {
                Setting::Bool(input.parse()?)
            } else if look.peek(Ident) {
                Setting::Ident(input.parse()?)
            } else {
                return Err(look.error());
            };
            return Ok(Arg::Option(name, setting));
        }
        if input.parse::<Option<Token![in]>>()?.is_some() {
            let domain = domain(input)?;
            return Ok(Arg::Symbol(name, domain));
        }
        if input.parse::<Option<Token![:]>>()?.is_some() {
            return Ok(Arg::Type(name, Box::new(input.parse()?)));
        }
        let message = format!(
            "expected `{name} = ..` (an option or a fixed dimension), `{name} in 1..=64` (a flexible dimension) or \
             `{name}: Tensor<..>` (the type of a parameter)"
        );
        Err(syn::Error::new(name.span(), message))
    }
}

/// `64..=512`, `64..512`, `[224, 384]`.
fn domain(input: ParseStream<'_>) -> Result<Domain> {
    let size = |lit: &LitInt| {
        let n: i64 = lit.base10_parse()?;
        if n < 1 { Err(syn::Error::new(lit.span(), "a dimension is at least 1")) } else { Ok(n) }
    };
    if input.peek(syn::token::Bracket) {
        let list;
        let bracket = bracketed!(list in input);
        let sizes = Punctuated::<LitInt, Token![,]>::parse_terminated(&list)?;
        let mut all = vec![];
        for lit in &sizes {
            let n = size(lit)?;
            if all.contains(&n) {
                return Err(syn::Error::new(lit.span(), format!("the size {n} stands here twice")));
            }
            all.push(n);
        }
        if all.is_empty() {
            return Err(syn::Error::new(bracket.span.join(), "expected at least one size"));
        }
        return Ok(Domain::OneOf(all));
    }
    let first: LitInt = input.parse()?;
    let min = size(&first)?;
    let inclusive = input.peek(Token![..=]);
    if inclusive {
        input.parse::<Token![..=]>()?;
    } else {
        let dots: Token![..] = input.parse()?;
        if !input.peek(LitInt) {
            let message =
                "a flexible dimension needs an upper bound: Core ML refuses ML programs with unbounded inputs";
            return Err(syn::Error::new_spanned(dots, message));
        }
    }
    let last: LitInt = input.parse()?;
    let max = size(&last)? - i64::from(!inclusive);
    if max < min {
        return Err(syn::Error::new(last.span(), format!("the range {min}..={max} is empty")));
    }
    Ok(Domain::Range { min, max: Some(max) })
}

impl ProgramAttr {
    /// Parses the arguments; what is wrong with one does not hide the others.
    pub(crate) fn parse(tokens: proc_macro2::TokenStream, diag: &mut Diagnostics) -> ProgramAttr {
        let mut attr = ProgramAttr::default();
        let parser = |input: ParseStream<'_>| {
            while !input.is_empty() {
                match input.parse() {
                    Ok(arg) => attr.add(arg, diag),
                    Err(e) => {
                        diag.syntax(e);
                        while !input.is_empty() && !input.peek(Token![,]) {
                            input.parse::<proc_macro2::TokenTree>()?;
                        }
                    }
                }
                if !input.is_empty() {
                    input.parse::<Token![,]>()?;
                }
            }
            Ok(())
        };
        if let Err(e) = syn::parse::Parser::parse2(parser, tokens) {
            diag.syntax(e);
        }
        attr
    }

    fn add(&mut self, arg: Arg, diag: &mut Diagnostics) {
        match arg {
            Arg::Symbol(name, domain) => {
                let symbol = Symbol::new(name.to_string(), domain);
                self.declare(name, symbol.into(), diag);
            }
            Arg::Type(name, ty) => {
                if self.types.iter().any(|(n, _)| *n == name) {
                    diag.error(Place::of(&name), format!("the type of `{name}` stands here twice"));
                }
                self.types.push((name, *ty));
            }
            Arg::Option(name, setting) => self.option(name, setting, diag),
        }
    }

    fn option(&mut self, name: Ident, setting: Setting, diag: &mut Diagnostics) {
        let place = Place::of(&name);
        match (&name.to_string()[..], setting) {
            ("opset", Setting::Ident(opset)) => match Opset::parse(&opset.to_string()) {
                Some(o) => self.opset = o,
                None => {
                    let all = Opset::ALL.map(|o| format!("`{o}`")).join(", ");
                    diag.error(Place::of(&opset), format!("there is no opset `{opset}`; it is one of {all}"));
                }
            },
            ("opset", _) => diag.error(place, "expected an opset, such as `opset = iOS17`"),
            ("weights", Setting::Text(path, convert)) => {
                let dtype = convert.as_ref().and_then(|c| DType::parse(&c.to_string()));
                if let Some(c) = convert
                    && !matches!(dtype, Some(DType::F16 | DType::F32))
                {
                    diag.error(Place::of(&c), format!("weights are converted to `f16` or `f32`, not to `{c}`"));
                }
                self.weights = Some(WeightsOption { path, convert: dtype });
            }
            ("weights", _) => diag.error(place, "expected a file, such as `weights = \"model.safetensors\"`"),
            ("embed", Setting::Bool(b)) => self.embed = Some(b.value),
            ("embed", _) => diag.error(place, "expected `embed = true` or `embed = false`"),
            ("default", Setting::Ident(function)) => self.default = Some(function),
            ("default", _) => diag.error(place, "expected a function of the module, such as `default = main`"),
            (text @ ("description" | "author" | "license" | "version"), setting) => {
                let Setting::Text(value, None) = setting else {
                    diag.error(place, format!("expected text, such as `{text} = \"..\"`"));
                    return;
                };
                let value = value.value();
                match text {
                    "description" => self.metadata.description = value,
                    "author" => self.metadata.author = value,
                    "license" => self.metadata.license = value,
                    _ => self.metadata.version = value,
                }
            }
            ("__check_shadow", Setting::Bool(b)) => self.check_shadow = b.value,
            (_, Setting::Int(lit)) => match lit.base10_parse::<i64>() {
                Ok(n) if n >= 1 => self.declare(name, Dim::from(n), diag),
                _ => diag.error(Place::of(&lit), "a dimension is at least 1 and fits 63 bits"),
            },
            (text, _) => {
                let near = suggest::hint(text, OPTIONS);
                let near = if near.is_empty() {
                    format!("; it is one of {}", OPTIONS.map(|o| format!("`{o}`")).join(", "))
                } else {
                    near
                };
                diag.error(place, format!("there is no option `{name}`{near}"));
            }
        }
    }

    /// Says of a program what the attribute says of it.
    pub(crate) fn describe(&self, program: Option<&mut Program>) {
        if let Some(program) = program {
            program.metadata = self.metadata.clone();
        }
    }

    fn declare(&mut self, name: Ident, dim: Dim, diag: &mut Diagnostics) {
        if self.dims.insert(name.to_string(), dim).is_some() {
            diag.error(Place::of(&name), format!("`{name}` is declared twice"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn parse(tokens: proc_macro2::TokenStream) -> (ProgramAttr, Vec<String>) {
        let mut diag = Diagnostics::default();
        let attr = ProgramAttr::parse(tokens, &mut diag);
        (attr, diag.messages())
    }

    #[test]
    fn everything_at_once() {
        let (a, errors) = parse(quote!(
            opset = iOS17,
            weights = "a.safetensors" as f16,
            embed = false,
            H in 64..=512,
            W in [224, 384],
            N in 1..9,
            HIDDEN = 768,
            x: Tensor<f32, 4>,
        ));
        assert_eq!(errors, [""; 0]);
        assert_eq!((a.opset, a.embed), (Opset::iOS17, Some(false)));
        let weights = a.weights.unwrap();
        assert_eq!((weights.path.value(), weights.convert), ("a.safetensors".into(), Some(DType::F16)));
        assert_eq!(a.dims["HIDDEN"], Dim::from(768));
        let domain = |name: &str| a.dims[name].as_symbol().unwrap().domain().to_string();
        assert_eq!([domain("H"), domain("W"), domain("N")], ["64..=512", "[224, 384]", "1..=8"]);
        assert_eq!(a.types[0].0, "x");
    }

    #[test]
    fn mistakes() {
        for (tokens, text) in [
            (quote!(opset = iOS14), "there is no opset `iOS14`"),
            (quote!(opest = iOS17), "did you mean `opset`?"),
            (quote!(H in 1..), "upper bound"),
            (quote!(H in 9..=3), "empty"),
            (quote!(H in 0..=3), "at least 1"),
            (quote!(H in []), "at least one size"),
            (quote!(H in [2, 2]), "twice"),
            (quote!(H = 2, H = 3), "declared twice"),
            (quote!(H), "expected `H = ..`"),
            (quote!(weights = "a" as i8), "not to `i8`"),
            (quote!(embed = 3), "`embed = true`"),
        ] {
            let (_, errors) = parse(tokens.clone());
            assert!(errors.len() == 1 && errors[0].contains(text), "{tokens}: {errors:?}");
        }
    }
}
