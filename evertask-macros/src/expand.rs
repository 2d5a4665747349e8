//! What the attribute leaves behind: the fn as it came, and beside it data and one call. Nothing here can fail.

use std::time::Duration;

use evertask_schedule::Schedule;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens as _, format_ident, quote, quote_spanned};
use syn::{
    Ident, LitStr, Path, ReturnType, Token, Type, ext::IdentExt as _, parse_quote,
    parse_quote_spanned, spanned::Spanned as _,
};

use crate::{
    backoff::Backoff,
    check,
    errors::Errors,
    fallback,
    model::{self, ArgDefault, Argument, Handler, Param, peel},
    options::Options,
    parse::{self, ItemFn},
    value::Timeout,
    ways::{Missed, Overlap},
};

/// The attribute on a fn, from tokens to tokens.
pub(crate) fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = Options::parse(options, &mut errors);
    let Some(item_fn) = errors.keep(parse::item(item.clone())) else {
        return [item, errors.into_tokens()].into_iter().collect();
    };
    let bad_options = errors.count();
    check::signature(&item_fn, &mut errors);
    let params = model::params(&item_fn, &mut errors);
    let expansion = if errors.count() == bad_options {
        let mut handler = Handler { item: item_fn, options, params };
        check::together(&mut handler, &mut errors);
        expand(&handler)
    } else {
        fallback::expand(&item_fn, &library(&options))
    };
    [expansion, errors.into_tokens()].into_iter().collect()
}

/// The door of the library, from which all paths start.
fn library(options: &Options) -> Path {
    let library = options.krate.value.clone().unwrap_or_else(|| parse_quote!(::evertask));
    parse_quote!(#library::__private)
}

fn expand(handler: &Handler) -> TokenStream {
    let p = library(&handler.options);
    let item = user_fn(&handler.item);
    let payload = payload(handler, &p);
    let inherent = inherent(handler, &p);
    let handler_impl = handler_impl(handler, &p);
    let registration = registration(&handler.item, &p);
    quote! { #item #payload #inherent #handler_impl #registration }
}

/// The fn as it came. That it is async, and how much it takes, is asked of it by the attribute; so lints about that are not
/// its author's to answer.
fn user_fn(item: &ItemFn) -> TokenStream {
    let many = (item.sig.inputs.len() > 7).then(|| quote!(, clippy::too_many_arguments));
    quote!(#[allow(clippy::unused_async #many)] #item)
}

/// The struct of the same name: a field for each argument.
fn payload(handler: &Handler, p: &Path) -> TokenStream {
    let ItemFn { vis, sig, .. } = &handler.item;
    let ident = &sig.ident;
    let cfgs = handler.item.cfgs();
    let docs = payload_docs(&handler.item, handler.schedule().as_ref());
    let serde = LitStr::new(&quote!(#p::serde).to_string(), Span::call_site());
    let fields = handler.arguments().map(|argument| {
        let Argument { ident, ty, default } = argument;
        let doc = format!(" The argument `{}`.", ident.unraw());
        let bound = bound(ty, p);
        let default = default.as_ref().map(|default| match default {
            ArgDefault::Default => quote!(#[serde(default)]),
            ArgDefault::Call(path) => {
                let path = LitStr::new(&path.to_token_stream().to_string(), path.span());
                quote!(#[serde(default = #path)])
            }
        });
        quote! { #[doc = #doc] #bound #default #vis #ident: #ty }
    });
    quote! {
        #(#cfgs)*
        #docs
        #[allow(
            non_camel_case_types,
            non_snake_case,
            private_interfaces,
            unreachable_pub,
            clippy::pub_underscore_fields
        )]
        #[derive(#p::serde::Serialize, #p::serde::Deserialize)]
        #[serde(crate = #serde)]
        #vis struct #ident { #(#fields),* }
    }
}

/// What it is, in the words of its author what it is for, and when it runs by itself. Only the first paragraph: examples would be
/// tested twice.
pub(crate) fn payload_docs(item: &ItemFn, schedule: Option<&Schedule>) -> TokenStream {
    let ident = &item.sig.ident;
    let name = match ident.unraw() == *ident {
        true => format!("[`{ident}()`](fn@{ident})"),
        false => format!("`{ident}()`"),
    };
    let about = format!(" Payload of the handler {name}, and the way to dispatch it.");
    let mut summary = item.summary().peekable();
    let blank = summary.peek().map(|_| quote!(#[doc = ""]));
    let when = schedule.map(|schedule| {
        let when = format!(" Runs by itself: {schedule}.");
        quote!(#[doc = ""] #[doc = #when])
    });
    quote!(#[doc = #about] #blank #(#summary)* #when)
}

/// Makes serde's implementations ask for no more than what the library says about arguments, so that a type that does not
/// fit is one error, in the library's words.
///
/// A type that cannot be written as text goes without: its errors are serde's.
fn bound(ty: &Type, p: &Path) -> Option<TokenStream> {
    let text = quote!(for<'a> #ty: #p::Argument<'a>).to_string();
    if text.contains('$') {
        return None;
    }
    let text = LitStr::new(&text, ty.span());
    Some(quote!(#[serde(bound = #text)]))
}

/// `new(..)` and `dispatch(..)`.
fn inherent(handler: &Handler, p: &Path) -> TokenStream {
    let ItemFn { vis, sig, .. } = &handler.item;
    let ident = &sig.ident;
    let cfgs = handler.item.cfgs();
    // Whoever asks where these are defined is led to the fn.
    let [new, dispatch] = ["new", "dispatch"].map(|name| Ident::new(name, ident.span()));
    let params: Vec<_> = handler
        .arguments()
        .map(|Argument { ident, ty, .. }| match is_string(ty) {
            true => quote!(#ident: impl #p::Into<#ty>),
            false => quote!(#ident: #ty),
        })
        .collect();
    let names: Vec<_> = handler.arguments().map(|argument| &argument.ident).collect();
    let values = handler.arguments().map(|Argument { ident, ty, .. }| match is_string(ty) {
        true => quote!(#p::Into::into(#ident)),
        false => quote!(#ident),
    });
    quote! {
        #(#cfgs)*
        #[allow(
            dead_code,
            non_snake_case,
            private_interfaces,
            unreachable_pub,
            clippy::many_single_char_names,
            clippy::similar_names,
            clippy::too_many_arguments,
            clippy::used_underscore_binding
        )]
        impl #ident {
            /// The payload, not dispatched yet.
            #[must_use]
            #vis fn #new(#(#params),*) -> Self {
                Self { #(#names: #values),* }
            }

            /// Stores a task for this handler, once it is awaited.
            #vis fn #dispatch(#(#params),*) -> #p::Dispatch<Self> {
                #p::dispatch(Self::#new(#(#names),*))
            }
        }
    }
}

fn is_string(ty: &Type) -> bool {
    let Type::Path(path) = peel(ty) else { return false };
    let last = path.path.segments.last();
    path.qself.is_none()
        && last.is_some_and(|last| last.ident == "String" && last.arguments.is_none())
}

/// What the runtime calls.
fn handler_impl(handler: &Handler, p: &Path) -> TokenStream {
    let ident = &handler.item.sig.ident;
    let cfgs = handler.item.cfgs();
    let options = options(handler, p);
    let hooks = hooks(&handler.options, p);
    let output = output(&handler.item, p);
    let checks = handler.extracted().map(|ty| {
        let check = of_type(ty, &quote!(#p::FromContext), "check");
        let states = quote_spanned!(ends(ty).1=> (states)?;);
        quote!(#check #states)
    });
    let call = call(handler, p);
    // An argument that does not fit is an error about this type as a whole; it belongs under the arguments.
    let mut payload = ident.clone();
    payload.set_span(handler.item.sig.paren_token.span.join());
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        #[allow(deprecated)]
        impl #p::Handler for #payload {
            #output

            const OPTIONS: #p::HandlerOptions = #options;

            const HOOKS: #p::Hooks = #hooks;

            #call

            fn check(states: &#p::States) -> #p::Result<(), #p::MissingState> {
                #(#checks)*
                #p::Ok(())
            }
        }
    }
}

/// The item for what is recorded: what is returned, errors aside.
fn output(item: &ItemFn, p: &Path) -> TokenStream {
    let (first, last) = ends(&result(item));
    let output = returned(item, "Output", p);
    let (head, end) = (quote_spanned!(first=> type Output =), quote_spanned!(last=> ;));
    quote!(#head #output #end)
}

/// Something of the return type, which is told by a constant whether it is a `Result`.
fn returned(item: &ItemFn, something: &str, p: &Path) -> TokenStream {
    let result = result(item);
    let returned = quote! {
        #p::Returned<{
            #[allow(unused_imports)]
            use #p::NoResult as _;
            #p::Probe::<#result>::IS_RESULT
        }>
    };
    of_type(&result, &returned, something)
}

/// `<Type as Trait>::something`.
///
/// The compiler takes the place of a path from its first and its last token: with these two where the type has its own,
/// whatever is wrong with it is said there, and said once.
fn of_type(ty: &Type, of: &TokenStream, something: &str) -> TokenStream {
    let (first, last) = ends(ty);
    let open = quote_spanned!(first=> <);
    let something = Ident::new(something, last);
    quote!(#open #ty as #of>::#something)
}

/// The type behind the arrow.
fn result(item: &ItemFn) -> Type {
    match &item.sig.output {
        ReturnType::Default => parse_quote_spanned!(item.sig.ident.span()=> ()),
        ReturnType::Type(_, ty) => (**ty).clone(),
    }
}

/// Where a type begins and where it ends.
fn ends(ty: &Type) -> (Span, Span) {
    let last = ty.to_token_stream().into_iter().last();
    (ty.span(), last.map_or_else(Span::call_site, |token| token.span()))
}

/// The path with its tokens at another place.
fn at(span: Span, path: &Path) -> TokenStream {
    let at_span = |mut token: TokenTree| {
        token.set_span(span);
        token
    };
    path.to_token_stream().into_iter().map(at_span).collect()
}

/// The one call: extracts what is not stored, calls the fn, reads what it returned.
fn call(handler: &Handler, p: &Path) -> TokenStream {
    let ident = &handler.item.sig.ident;
    let read = returned(&handler.item, "into_result", p);
    let ctx = Ident::new("ctx", Span::mixed_site());
    let this = Token![self](Span::mixed_site());
    let mut extractions = TokenStream::new();
    let mut values = Vec::new();
    for (n, param) in handler.params.iter().enumerate() {
        values.push(match param {
            Param::Argument(Argument { ident, .. }) => quote!(#this.#ident),
            Param::Context(ty) => quote_spanned!(ty.span()=> #p::Clone::clone(&#ctx)),
            Param::Extracted(ty) => {
                let value = format_ident!("extracted_{n}", span = Span::mixed_site());
                let (first, last) = ends(ty);
                let open = at(first, p);
                let make = of_type(ty, &quote!(#p::FromContext), "from_context");
                let make = quote_spanned!(last=> (#make(&#ctx).await)?;);
                extractions.extend(quote!(let #value = #open::extracted #make));
                quote!(#value)
            }
        });
    }
    let retry_if = match &handler.options.retry_if.value {
        Some(path) => quote_spanned!(path.span()=> #p::Some(#path)),
        None => quote!(#p::None),
    };
    let (first, last) = ends(&result(&handler.item));
    let (open, close) = (at(first, p), quote_spanned!(last=> >));
    let arguments = quote_spanned!(last=> (#ident(#(#values),*).await, #retry_if));
    // A future that is not `Send` is an error about this fn; it belongs under the name of the user's.
    let head = quote_spanned!(ident.span()=> async fn call(#this, #ctx: #p::Context));
    quote! {
        #head -> #open::Result<Self::Output, #p::Failure #close {
            #extractions
            #read #arguments
        }
    }
}

/// The options as a constant: what was not said is not written.
fn options(handler: &Handler, p: &Path) -> TokenStream {
    let Options { aliases, version, queue, timeout, retries, backoff, jitter, priority, .. } =
        &handler.options;
    let Options { missed, overlap, spread, .. } = &handler.options;
    let new = new_options(&handler.name(), p);
    let aliases = aliases.value.as_ref().map(|aliases| quote!(.aliases(&[#(#aliases),*])));
    let version = version.value.map(|version| quote!(.version(#version)));
    let queue = queue.value.as_ref().map(|queue| quote!(.queue(#queue)));
    let timeout = timeout.value.as_ref().map(|timeout| match timeout {
        Timeout::None => quote!(.timeout(#p::Setting::None)),
        Timeout::After(time) => {
            let time = duration(*time, p);
            quote!(.timeout(#p::Setting::Value(#time)))
        }
    });
    let retries = retries.value.map(|retries| quote!(.retries(#retries)));
    let jitter = (jitter.value == Some(false)).then(|| quote!(.without_jitter()));
    let backoff = backoff.value.as_ref().map(|backoff| {
        let backoff = shape(backoff, p);
        quote!(.backoff(#backoff #jitter))
    });
    let priority = priority.value.map(|priority| quote!(.priority(#priority)));
    let schedule = handler.schedule().map(|schedule| {
        let stored = schedule.to_wire();
        quote!(.schedule(#stored))
    });
    let missed = missed.value.map(|missed| match missed {
        Missed::Skip => quote!(.missed(#p::Missed::Skip)),
        Missed::Once => quote!(.missed(#p::Missed::Once)),
        Missed::All(window) => {
            let window = duration(window, p);
            quote!(.missed(#p::Missed::All(#window)))
        }
    });
    let overlap = overlap.value.map(|overlap| match overlap {
        Overlap::Skip => quote!(.overlap(#p::Overlap::Skip)),
        Overlap::Allow => quote!(.overlap(#p::Overlap::Allow)),
        Overlap::CancelPrevious => quote!(.overlap(#p::Overlap::CancelPrevious)),
        Overlap::QueueOne => quote!(.overlap(#p::Overlap::QueueOne)),
    });
    let spread = spread.value.map(|over| {
        let over = duration(over, p);
        quote!(.spread(#over))
    });
    let ticks = quote!(#schedule #missed #overlap #spread);
    quote!(#new #aliases #version #queue #timeout #retries #backoff #priority #ticks)
}

/// The options of a handler of which nothing is known but its name and where its attribute stands.
pub(crate) fn new_options(name: &str, p: &Path) -> TokenStream {
    quote! {
        #p::HandlerOptions::new(#name, #p::Location {
            module: #p::module_path!(),
            file: #p::file!(),
            line: #p::line!(),
            column: #p::column!(),
        })
    }
}

fn shape(backoff: &Backoff, p: &Path) -> TokenStream {
    match backoff {
        Backoff::Exponential { first, max } => {
            let (first, max) = (duration(*first, p), duration(*max, p));
            quote!(#p::Backoff::exponential(#first, #max))
        }
        Backoff::Fixed(delay) => {
            let delay = duration(*delay, p);
            quote!(#p::Backoff::fixed(#delay))
        }
        Backoff::List(delays) => {
            let delays = delays.iter().map(|delay| duration(*delay, p));
            quote!(#p::Backoff::list(&[#(#delays),*]))
        }
    }
}

fn duration(duration: Duration, p: &Path) -> TokenStream {
    let (secs, nanos) = (duration.as_secs(), duration.subsec_nanos());
    quote!(#p::Duration::new(#secs, #nanos))
}

/// What a hook takes besides payload and context.
enum Third {
    Nothing,
    Output,
    Failure,
}

/// The hooks as a constant; each reads what its fn takes.
fn hooks(options: &Options, p: &Path) -> TokenStream {
    let hooks = [
        ("started", &options.on_started, Third::Nothing),
        ("completed", &options.on_completed, Third::Output),
        ("retry", &options.on_retry, Third::Failure),
        ("failed", &options.on_failed, Third::Failure),
        ("cancelled", &options.on_cancelled, Third::Nothing),
    ];
    let hooks = hooks.into_iter().filter_map(|(kind, option, third)| {
        let path = option.value.as_ref()?;
        // A hook that does not fit is an error about the fn named here.
        let here = Span::mixed_site().located_at(path.span());
        let p = at(path.span(), p);
        let [kind, call, payload, third_value] =
            [kind, "call", "payload", "third"].map(|name| Ident::new(name, here));
        let (read, third) = match third {
            Third::Nothing => (None, None),
            Third::Output => (
                Some(quote!(let #third_value: <Self as #p::Handler>::Output = #call.output()?;)),
                Some(quote_spanned!(here=> , &#third_value)),
            ),
            Third::Failure => (
                Some(quote!(let #third_value = #call.failure()?;)),
                Some(quote_spanned!(here=> , &#third_value)),
            ),
        };
        Some(quote_spanned! {here=>
            .#kind(|#call| #p::Box::pin(async move {
                let #payload: Self = #call.payload()?;
                #read
                #p::HookReturned::into_result(#path(&#payload, #call.context() #third).await)
            }))
        })
    });
    quote!(#p::Hooks::NONE #(#hooks)*)
}

/// What the linker gathers.
fn registration(item: &ItemFn, p: &Path) -> TokenStream {
    let ident = &item.sig.ident;
    let cfgs = item.cfgs();
    quote! {
        #(#cfgs)*
        const _: () = {
            #[#p::linkme::distributed_slice(#p::HANDLERS)]
            #[linkme(crate = #p::linkme)]
            static HANDLER: #p::Registration =
                #p::Registration(#p::Some(#p::HandlerDef::of::<#ident>()));
        };
    }
}
