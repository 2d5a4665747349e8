//! Whether it makes sense together: the shape of the fn, and options that have to do with each other.

use proc_macro2::TokenTree;
use quote::ToTokens as _;
use syn::{GenericArgument, PathArguments, ReturnType, Safety, Type};

use crate::{
    errors::Errors,
    model::{Handler, Param, find},
    options::Options,
    parse::ItemFn,
    ways::{Missed, Overlap},
};

/// What the fn itself must be.
pub(crate) fn signature(item: &ItemFn, errors: &mut Errors) {
    let sig = &item.sig;
    if sig.asyncness.is_none() {
        errors.at(sig.fn_token, "handlers are async; write `async fn`");
    }
    if let Safety::Unsafe(unsafety) = &sig.safety {
        errors.at(
            unsafety,
            "handlers cannot be `unsafe`: the runtime that calls them cannot keep their conditions",
        );
    }
    if let Some(abi) = &sig.abi {
        errors.at(abi, "handlers cannot be `extern`; call the foreign fn in the body");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "handlers have a fixed number of arguments; take a `Vec`");
    }
    if !sig.generics.params.is_empty() {
        errors.at(
            &sig.generics,
            "handlers cannot be generic: a stored task has one type; write one handler for each",
        );
    } else if let Some(clause) = &sig.generics.where_clause {
        errors.at(clause, "handlers cannot have a `where` clause, as they are not generic");
    }
    if item.body.to_string() == ";" {
        errors.at(&sig.ident, "handlers need a body; a trait's method cannot be one");
    }
    unnamed_types(item, errors);
}

/// `impl Trait` and `Self` are types that cannot be written beside the fn.
fn unnamed_types(item: &ItemFn, errors: &mut Errors) {
    let params = item.sig.inputs.iter().map(|param| match param {
        syn::FnArg::Receiver(_) => None,
        syn::FnArg::Typed(param) => Some(&*param.ty),
    });
    let output = match &item.sig.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => Some(&**ty),
    };
    if let Some(Type::Never(never)) = output {
        errors.at(never, "handlers return; a task that never ends is never completed");
    }
    if let Some(borrow) = output.and_then(borrowed_output) {
        errors.at(
            borrow,
            "what a handler returns is stored and cannot be borrowed; return an owned value, such as `String` or `Vec`",
        );
    }
    for ty in params.chain([output]).flatten() {
        let wrong = find(ty.to_token_stream(), &|token, _| match token {
            TokenTree::Ident(ident) if ident == "impl" => {
                Some("handlers cannot take or return `impl` types: what is stored has a name")
            }
            TokenTree::Ident(ident) if ident == "Self" => {
                Some("handlers cannot stand in an `impl`; write a free fn and name the type")
            }
            _ => None,
        });
        if let Some((place, message)) = wrong {
            errors.at(place, message);
        }
    }
}

/// The reference in what is recorded: the output itself, or what stands first in one of std's wrappers. An error may be one; and
/// what a type of the user's own does with its parameters cannot be seen from here, so that is left to the compiler.
fn borrowed_output(output: &Type) -> Option<&Type> {
    match output {
        Type::Reference(_) => Some(output),
        Type::Group(group) => borrowed_output(&group.elem),
        Type::Paren(paren) => borrowed_output(&paren.elem),
        Type::Path(path) => {
            let last = path.path.segments.last()?;
            let PathArguments::AngleBracketed(list) = &last.arguments else { return None };
            let wraps = ["Result", "Option", "Vec", "Box"].iter().any(|name| last.ident == name);
            match list.args.first()? {
                GenericArgument::Type(first) if wraps => borrowed_output(first),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What parameters and options have to do with each other. What would only lead to more errors is taken out.
pub(crate) fn together(handler: &mut Handler, errors: &mut Errors) {
    let options = &handler.options;
    if let (Some(jitter), None) = (&options.jitter.key, &options.backoff.key) {
        errors.at(
            jitter,
            "`jitter` belongs to a `backoff`; say that too, such as `backoff = \"fixed(2s)\"`",
        );
    }
    if let (Some(key), Some(aliases)) = (&options.aliases.key, &options.aliases.value) {
        let name = handler.name();
        if aliases.contains(&name) {
            errors.at(key, format!("`{name}` is the name itself; `aliases` lists the older ones"));
        }
    }
    schedule(handler, errors);
    let mut contexts = handler.params.iter().filter_map(|param| match param {
        Param::Context(ty) => Some(ty),
        Param::Argument(_) | Param::Extracted(_) => None,
    });
    if let (Some(first), Some(second)) = (contexts.next(), contexts.next()) {
        errors.at(second, "`Context` is taken twice");
        errors.at(first, "first taken here");
    }
    if let (Some(retry_if), ReturnType::Default) =
        (&handler.options.retry_if.key, &handler.item.sig.output)
    {
        errors.at(retry_if, "`retry_if` is asked about errors, and this handler returns none");
        handler.options.retry_if.value = None;
    }
}

/// What says when the handler runs by itself.
fn schedule(handler: &Handler, errors: &mut Errors) {
    let Options { cron, every, tz, missed, overlap, spread, .. } = &handler.options;
    if let (Some(cron), Some(every)) = (&cron.key, &every.key) {
        errors.at(every, "`cron` and `every` both say when it runs; keep one of them");
        errors.at(cron, "the other stands here");
    }
    let no_zone =
        "a fixed interval is elapsed time, which is the same in all zones; leave `tz` out";
    match (&tz.key, &cron.key, &every.key) {
        (Some(tz), None, None) => {
            errors.at(tz, "`tz` belongs to a `cron`; say that too, such as `cron = \"0 3 * * *\"`");
        }
        (Some(tz), None, Some(_)) => errors.at(tz, no_zone),
        // `@every 5m`.
        (Some(tz), Some(_), _) if cron.value.as_ref().is_some_and(|cron| cron.zone().is_none()) => {
            errors.at(tz, no_zone);
        }
        _ => {}
    }
    let Some(key) = cron.key.as_ref().or(every.key.as_ref()) else {
        for key in [&missed.key, &overlap.key, &spread.key].into_iter().flatten() {
            errors.at(
                key,
                format!("`{key}` is about ticks; say when there are any: `cron = \"0 3 * * *\"` or `every = \"5m\"`"),
            );
        }
        return;
    };
    if let (Some(at), Some(Missed::All(_))) = (&missed.key, missed.value)
        && let (None, _) | (_, Some(Overlap::Skip | Overlap::CancelPrevious)) =
            (&overlap.key, overlap.value)
    {
        errors.at(
            at,
            "`all` needs `overlap = \"allow\"` or `overlap = \"queue_one\"`; otherwise all but one of those that were missed would be left out again",
        );
    }
    for argument in handler.arguments().filter(|argument| !argument.may_be_missing()) {
        errors.at(
            &argument.ident,
            format!(
                "a tick brings no arguments; mark it `#[arg(default)]`, or leave `{key}` out and say it when dispatching, with a key: `.{key}(..).key(..)`"
            ),
        );
    }
}
