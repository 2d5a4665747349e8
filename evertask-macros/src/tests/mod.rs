//! What the attribute leaves behind, to be read in review.
//!
//! After a change that was meant: `UPDATE_EXPECT=1 cargo test -p evertask-macros`, and read the diff.

mod anything;

use expect_test::{ExpectFile, expect_file};
use proc_macro2::TokenStream;
use quote::quote;

use crate::expand;

fn check(options: TokenStream, item: TokenStream, expected: &ExpectFile) {
    let expansion = syn::parse2(expand::handler(options, item)).expect("an expansion is items");
    expected.assert_eq(&prettyplease::unparse(&expansion));
}

#[test]
fn nothing_said() {
    check(
        quote!(),
        quote! {
            async fn tidy() {}
        },
        &expect_file!["nothing_said.expanded"],
    );
}

#[test]
fn everything_said() {
    check(
        quote! {
            name = "mail.welcome",
            aliases = ["welcome_mail"],
            version = 2,
            queue = "mail",
            timeout = "5m",
            retries = 3,
            backoff = "exponential(1s, max = 1h)",
            jitter = false,
            retry_if = is_transient,
            priority = 10,
            on_started = hooks::started,
            on_completed = hooks::completed,
            on_failed = notify_ops
        },
        quote! {
            /// Sends the mail that greets a new user.
            ///
            /// It is sent once.
            #[cfg(feature = "mail")]
            pub(crate) async fn send_welcome_email(
                email: String,
                mut name: std::string::String,
                #[arg(default = defaults::copies)] copies: u8,
                mailer: State<Mailer>,
                #[extract] tenant: Tenant,
                ctx: Context,
            ) -> Result<Receipt, MailError> {
                mailer.send(email, name).await
            }
        },
        &expect_file!["everything_said.expanded"],
    );
}

#[test]
fn a_schedule_said() {
    check(
        quote!(cron = "0 3 * * MON-FRI", tz = "Europe/Rome"),
        quote! {
            /// Makes room.
            async fn tidy(#[arg(default)] days: u32, only: Option<String>, store: State<Store>) {}
        },
        &expect_file!["schedule_said.expanded"],
    );
}

#[test]
fn a_library_of_another_name_and_raw_names() {
    check(
        quote!(crate = my::tasks, timeout = none),
        quote! {
            async fn r#move(r#type: u8) -> u8 {
                r#type
            }
        },
        &expect_file!["another_name.expanded"],
    );
}

#[test]
fn a_bad_option_leaves_the_rest_whole() {
    check(
        quote!(timout = "5m", retries = 3),
        quote! {
            async fn tidy() {}
        },
        &expect_file!["bad_option.expanded"],
    );
}

#[test]
fn a_bad_signature_leaves_a_stub() {
    check(
        quote!(),
        quote! {
            pub fn send<T: Clone>(email: &str, (name, count): (T, u32), mailer: State<Mailer>) -> T {
                name
            }
        },
        &expect_file!["bad_signature.expanded"],
    );
}
