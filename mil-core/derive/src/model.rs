//! The op as the struct says it.

use syn::{
    Attribute, Data, DeriveInput, Expr, Field, Fields, GenericArgument, Ident, Lit, LitBool, LitInt, LitStr, Meta,
    PathArguments, Result, Type,
};

use crate::dtypes::{Domain, Rule, opset_index};

/// An op.
pub(crate) struct Model<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) docs: Vec<&'a Attribute>,
    pub(crate) doc: String,
    pub(crate) name: String,
    pub(crate) since: Ident,
    pub(crate) outputs: Option<usize>,
    pub(crate) blocks: usize,
    pub(crate) constructor: bool,
    pub(crate) domains: Vec<Domain>,
    /// Of `constexpr_` ops: how parameters stand in a file.
    pub(crate) form: Option<Rule>,
    pub(crate) params: Vec<ParamModel<'a>>,
}

/// A parameter.
pub(crate) struct ParamModel<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) docs: Vec<&'a Attribute>,
    pub(crate) doc: String,
    /// The type, without `Option`.
    pub(crate) ty: &'a Type,
    pub(crate) optional: bool,
    pub(crate) default: Option<Expr>,
    pub(crate) since: Option<Ident>,
    /// The opset that took it away.
    pub(crate) until: Option<Ident>,
    /// Whether it must be given in the opsets that have it, although it is an `Option`.
    pub(crate) needed: bool,
    pub(crate) in_place: bool,
    /// `Some(None)`: always constant; `Some(Some(opset))`: until that opset.
    pub(crate) constant: Option<Option<Ident>>,
    pub(crate) rule: Option<Rule>,
}

impl ParamModel<'_> {
    pub(crate) fn required(&self) -> bool {
        !self.optional && self.default.is_none()
    }
}

impl<'a> Model<'a> {
    pub(crate) fn parse(input: &'a DeriveInput) -> Result<Model<'a>> {
        let ident = &input.ident;
        let error = |message: &str| syn::Error::new(ident.span(), message);
        let Data::Struct(data) = &input.data else { return Err(error("an op is a struct")) };
        let fields: Vec<&Field> = match &data.fields {
            Fields::Named(fields) => fields.named.iter().collect(),
            Fields::Unit => vec![],
            Fields::Unnamed(_) => return Err(error("an op has named fields")),
        };
        let (mut name, mut since, mut outputs, mut blocks, mut constructor) = (None, None, Some(1), 0, true);
        for attr in input.attrs.iter().filter(|a| a.path().is_ident("op")) {
            attr.parse_nested_meta(|meta| {
                let key = meta.path.require_ident()?.to_string();
                match &key[..] {
                    "name" => name = Some(meta.value()?.parse::<LitStr>()?.value()),
                    "since" => {
                        let opset: Ident = meta.value()?.parse()?;
                        opset_index(&opset)?;
                        since = Some(opset);
                    }
                    "outputs" => {
                        let value = meta.value()?;
                        outputs = match value.parse::<Option<LitInt>>()? {
                            Some(n) => Some(n.base10_parse()?),
                            None => {
                                let word: Ident = value.parse()?;
                                if word != "variadic" {
                                    return Err(meta.error("expected a number or `variadic`"));
                                }
                                None
                            }
                        };
                    }
                    "blocks" => blocks = meta.value()?.parse::<LitInt>()?.base10_parse()?,
                    "constructor" => constructor = meta.value()?.parse::<LitBool>()?.value,
                    _ => return Err(meta.error("expected `name`, `since`, `outputs`, `blocks` or `constructor`")),
                }
                Ok(())
            })?;
        }
        let domains = input.attrs.iter().filter(|a| a.path().is_ident("domain")).map(|a| a.parse_args());
        let form = input.attrs.iter().find(|a| a.path().is_ident("form")).map(|a| a.parse_args()).transpose()?;
        let (docs, doc) = docs(&input.attrs);
        if doc.is_empty() {
            return Err(error("an op is documented: its doc comment is the documentation everywhere"));
        }
        Ok(Model {
            ident,
            docs,
            doc,
            name: name.ok_or_else(|| error("missing `#[op(name = \"..\")]`"))?,
            since: since.ok_or_else(|| error("missing `#[op(since = ..)]`"))?,
            outputs,
            blocks,
            constructor,
            domains: domains.collect::<Result<_>>()?,
            form,
            params: fields.into_iter().map(ParamModel::parse).collect::<Result<_>>()?,
        })
    }
}

impl<'a> ParamModel<'a> {
    fn parse(field: &'a Field) -> Result<ParamModel<'a>> {
        let ident = field.ident.as_ref().ok_or_else(|| syn::Error::new_spanned(field, "an op has named fields"))?;
        let attr = |name: &str| field.attrs.iter().find(|a| a.path().is_ident(name));
        let (docs, doc) = docs(&field.attrs);
        if doc.is_empty() {
            return Err(syn::Error::new(ident.span(), "a parameter is documented"));
        }
        let inner = option_inner(&field.ty);
        let default = attr("default").map(|a| a.parse_args()).transpose()?;
        if inner.is_some() && default.is_some() {
            return Err(syn::Error::new(ident.span(), "a parameter is optional or has a default, not both"));
        }
        let since = attr("since").map(|a| a.parse_args::<Ident>()).transpose()?;
        let until = attr("until").map(|a| a.parse_args::<Ident>()).transpose()?;
        since.as_ref().map(opset_index).transpose()?;
        until.as_ref().map(opset_index).transpose()?;
        if inner.is_none() && (until.is_some() || attr("needed").is_some()) {
            return Err(syn::Error::new(ident.span(), "`until` and `needed` are for an `Option`"));
        }
        let constant = attr("constant").map(|a| -> Result<Option<Ident>> {
            match &a.meta {
                Meta::Path(_) => Ok(None),
                _ => {
                    let mut until = None;
                    a.parse_nested_meta(|meta| {
                        if !meta.path.is_ident("until") {
                            return Err(meta.error("expected `until = <opset>`"));
                        }
                        let opset: Ident = meta.value()?.parse()?;
                        opset_index(&opset)?;
                        until = Some(opset);
                        Ok(())
                    })?;
                    Ok(until)
                }
            }
        });
        Ok(ParamModel {
            ident,
            docs,
            doc,
            ty: inner.unwrap_or(&field.ty),
            optional: inner.is_some(),
            default,
            since,
            until,
            needed: attr("needed").is_some(),
            in_place: attr("in_place").is_some(),
            constant: constant.transpose()?,
            rule: attr("dtype").map(|a| a.parse_args()).transpose()?,
        })
    }
}

fn docs(attrs: &[Attribute]) -> (Vec<&Attribute>, String) {
    let docs: Vec<&Attribute> = attrs.iter().filter(|a| a.path().is_ident("doc")).collect();
    let line = |a: &&Attribute| match &a.meta {
        Meta::NameValue(nv) => match &nv.value {
            Expr::Lit(syn::ExprLit { lit: Lit::Str(s), .. }) => {
                let s = s.value();
                Some(s.strip_prefix(' ').unwrap_or(&s).trim_end().to_string())
            }
            _ => None,
        },
        _ => None,
    };
    let text = docs.iter().filter_map(line).collect::<Vec<_>>().join("\n");
    (docs, text)
}

fn option_inner(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|s| s.ident == "Option")?;
    let PathArguments::AngleBracketed(args) = &last.arguments else { return None };
    match args.args.first()? {
        GenericArgument::Type(t) => Some(t),
        _ => None,
    }
}
