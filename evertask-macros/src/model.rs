//! What a handler is, once its syntax is understood: options, and parameters of which each knows where its value comes from.

use evertask_schedule::Schedule;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Attribute, FnArg, Ident, Pat, PatIdent, PatType, Path, Token, Type, ext::IdentExt};

use crate::{errors::Errors, options::Options, parse::ItemFn};

/// A handler, understood.
pub(crate) struct Handler {
    pub(crate) item: ItemFn,
    pub(crate) options: Options,
    pub(crate) params: Vec<Param>,
}

/// A parameter, by where its value comes from.
pub(crate) enum Param {
    /// From the payload.
    Argument(Argument),
    /// Made from the context of the attempt: `State<T>`, or marked `#[extract]`.
    Extracted(Type),
    /// The context itself.
    Context(Type),
}

/// A field of the payload.
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// Given if an older payload lacks the field.
    pub(crate) default: Option<ArgDefault>,
}

impl Argument {
    /// Whether a payload may lack it.
    pub(crate) fn may_be_missing(&self) -> bool {
        let is_option = |path: &Path| path.segments.last().is_some_and(|it| it.ident == "Option");
        self.default.is_some() || matches!(peel(&self.ty), Type::Path(ty) if is_option(&ty.path))
    }
}

/// The value of an argument that a payload lacks.
pub(crate) enum ArgDefault {
    Default,
    Call(Path),
}

impl Handler {
    /// The stored name.
    pub(crate) fn name(&self) -> String {
        match &self.options.name.value {
            Some(name) => name.clone(),
            None => self.item.sig.ident.unraw().to_string(),
        }
    }

    /// When it runs by itself, if that is said.
    pub(crate) fn schedule(&self) -> Option<Schedule> {
        let Options { cron, every, tz, .. } = &self.options;
        let Some(cron) = cron.value.clone() else { return every.value.clone() };
        match &tz.value {
            // Both were checked, each by itself, and any expression goes with any zone but `@every`.
            Some(zone) => cron.tz(zone).ok(),
            None => Some(cron),
        }
    }

    /// The parameters that are payload.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &Argument> {
        self.params.iter().filter_map(|param| match param {
            Param::Argument(argument) => Some(argument),
            Param::Extracted(_) | Param::Context(_) => None,
        })
    }

    /// The parameters that are made from the context.
    pub(crate) fn extracted(&self) -> impl Iterator<Item = &Type> {
        self.params.iter().filter_map(|param| match param {
            Param::Extracted(ty) => Some(ty),
            Param::Argument(_) | Param::Context(_) => None,
        })
    }
}

/// Understands the parameters. Those with mistakes are left out.
pub(crate) fn params(item: &ItemFn, errors: &mut Errors) -> Vec<Param> {
    let mut params = Vec::new();
    for (param, marks) in item.sig.inputs.iter().zip(&item.marks) {
        match param {
            FnArg::Receiver(receiver) => errors.at(
                receiver,
                "handlers cannot take `self`; write a free fn and take what it needs as `State<T>`",
            ),
            FnArg::Typed(param) => params.extend(self::param(param, marks, errors)),
        }
    }
    params
}

fn param(param: &PatType, marks: &[Attribute], errors: &mut Errors) -> Option<Param> {
    foreign_attributes(param, errors);
    let ident = name(param, errors);
    let mut default = None;
    let mut extract = None;
    for mark in marks {
        if mark.path().is_ident("serde") {
            errors
                .at(mark, "serde's attributes belong on types; here `#[arg(default)]` can be said");
        } else if mark.path().is_ident("extract") {
            if mark.meta.require_path_only().is_err() {
                errors.at(mark, "`#[extract]` takes nothing; what it makes is said by the type");
            }
            extract = Some(mark);
        } else {
            default = errors.keep(arg_default(mark)).map(|default| (mark, default));
        }
    }
    if let [_, second, ..] = marks {
        errors.at(
            second,
            "a parameter is either made (`#[extract]`) or stored (`#[arg(..)]`), and marked once",
        );
        return None;
    }
    let ty = &*param.ty;
    let special = if extract.is_some() { Some(Param::Extracted(ty.clone())) } else { special(ty) };
    if let Some(special) = special {
        if let Some((mark, _)) = default {
            errors.at(mark, "what is not stored needs no default");
        }
        if let Err(message) = given(ty) {
            errors.at(ty, message);
        }
        return Some(special);
    }
    errors.keep(owned(ty))?;
    let default = default.map(|(_, default)| default);
    Some(Param::Argument(Argument { ident: ident?, ty: ty.clone(), default }))
}

/// `State<T>` and `Context`, by their last segment. A `State` of nothing is a type of the user's own.
fn special(ty: &Type) -> Option<Param> {
    let ty = peel(ty);
    let inner = if let Type::Reference(reference) = ty { peel(&reference.elem) } else { ty };
    let Type::Path(path) = inner else { return None };
    let last = path.path.segments.last()?;
    if last.ident == "Context" {
        Some(Param::Context(ty.clone()))
    } else if last.ident == "State" && !last.arguments.is_none() {
        Some(Param::Extracted(ty.clone()))
    } else {
        None
    }
}

/// `#[arg(default)]` or `#[arg(default = path)]`.
fn arg_default(mark: &Attribute) -> syn::Result<ArgDefault> {
    const WANTED: &str = "expected `#[arg(default)]` or `#[arg(default = path)]`";
    let wrong = || syn::Error::new_spanned(mark, WANTED);
    let list = mark.meta.require_list().map_err(|_| wrong())?;
    list.parse_args_with(|input: syn::parse::ParseStream<'_>| {
        let key: Ident = input.call(Ident::parse_any).map_err(|_| wrong())?;
        if key != "default" {
            return Err(syn::Error::new_spanned(&key, WANTED));
        }
        if input.is_empty() {
            return Ok(ArgDefault::Default);
        }
        input.parse::<Token![=]>().map_err(|_| wrong())?;
        Ok(ArgDefault::Call(input.parse().map_err(|_| wrong())?))
    })
}

/// Attributes on a parameter that would not do what they say.
fn foreign_attributes(param: &PatType, errors: &mut Errors) {
    for attr in &param.attrs {
        if attr.path().is_ident("cfg") || attr.path().is_ident("cfg_attr") {
            errors.at(attr, "a parameter cannot depend on `cfg`; put it on the fn and write two");
        } else if attr.path().is_ident("serde") {
            errors
                .at(attr, "serde's attributes belong on types; here `#[arg(default)]` can be said");
        }
    }
}

/// The name of a parameter, which may be `mut` but no other pattern.
fn name(param: &PatType, errors: &mut Errors) -> Option<Ident> {
    let message = match &*param.pat {
        Pat::Ident(PatIdent { by_ref: None, subpat: None, ident, .. }) => {
            return Some(ident.clone());
        }
        Pat::Wild(_) => "handler parameters must be named; name one that is not used `_name`",
        Pat::TupleStruct(pat)
            if pat.path.segments.last().is_some_and(|last| last.ident == "State") =>
        {
            "take `evertask::State<T>` by name, without a pattern: `mailer: State<Mailer>`"
        }
        _ => {
            "handler parameters must be plain names, since they name what is stored; take the value apart in the body"
        }
    };
    errors.at(&param.pat, message);
    None
}

/// Context and state are given, not lent, and there is another `State` in the world.
fn given(ty: &Type) -> Result<(), &'static str> {
    match peel(ty) {
        Type::Reference(_) => Err("take it by value, without `&`; it is cheap to clone"),
        Type::Path(path) if path.path.segments.iter().any(|segment| segment.ident == "axum") => {
            Err("this is axum's `State`; take `evertask::State<..>`")
        }
        _ => Ok(()),
    }
}

/// What is stored is owned, and of one type.
fn owned(ty: &Type) -> syn::Result<()> {
    const BORROWED: &str = "handler arguments are stored and cannot be borrowed;";
    if let Type::Reference(reference) = peel(ty) {
        let instead = match peel(&reference.elem) {
            Type::Path(path) if path.path.is_ident("str") => "take `String`",
            Type::Slice(_) => "take a `Vec`",
            _ => "take it by value",
        };
        return Err(syn::Error::new_spanned(ty, format!("{BORROWED} {instead}")));
    }
    let wrong = find(ty.to_token_stream(), &|token, next| match token {
        TokenTree::Punct(punct) if punct.as_char() == '&' => {
            Some("take owned values, such as `String` or `Vec`")
        }
        TokenTree::Punct(punct) if punct.as_char() == '\'' => match next {
            Some(TokenTree::Ident(lifetime)) if lifetime == "static" => None,
            _ => Some("the only lifetime they can have is `'static`"),
        },
        _ => None,
    });
    match wrong {
        Some((place, instead)) => {
            Err(syn::Error::new_spanned(place, format!("{BORROWED} {instead}")))
        }
        None => Ok(()),
    }
}

/// Whether a parameter of this type is payload, as far as its type tells.
pub(crate) fn is_stored(ty: &Type) -> bool {
    special(ty).is_none()
}

/// The first token, at any depth, about which there is something to say.
pub(crate) fn find(
    tokens: TokenStream,
    say: &dyn Fn(&TokenTree, Option<&TokenTree>) -> Option<&'static str>,
) -> Option<(TokenTree, &'static str)> {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if let Some(message) = say(&token, tokens.peek()) {
            return Some((token, message));
        }
        if let TokenTree::Group(group) = &token
            && let Some(found) = find(group.stream(), say)
        {
            return Some(found);
        }
    }
    None
}

/// The type behind parentheses and what `macro_rules` puts around types.
pub(crate) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        other => other,
    }
}
