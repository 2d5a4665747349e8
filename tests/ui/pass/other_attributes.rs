#![deny(warnings)]

macro_rules! id {
    ($($tokens:tt)*) => { $($tokens)* };
}

/// Documented.
#[evertask::handler]
#[deprecated(note = "kept for what is stored")]
#[allow(non_snake_case)]
#[must_use]
pub async fn sendMail(eMail: String, #[allow(unused_variables)] count: u32) -> String {
    eMail
}

id! {
    #[evertask::handler]
    async fn through_a_macro(email: String) { drop(email); }
}

fn main() {
    let _ = sendMail::new("a", 1);
    let _ = through_a_macro::new("a");
}
