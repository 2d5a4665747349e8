mod deep {
    mod er {
        #[evertask::handler(name = "private")]
        async fn hidden() {}
    }
}

#[evertask::handler]
async fn send() {}

#[evertask::handler]
#[cfg(any())]
async fn compiled_out(of: NoSuchType) {}

#[cfg(any())]
#[evertask::handler]
async fn compiled_out_before() {}

fn never_called() {
    #[evertask::handler(name = "nested")]
    async fn inner() {}
}

fn main() {
    let _ = never_called;
    let mut names: Vec<_> = evertask::__private::HANDLERS
        .iter()
        .filter_map(|registration| registration.0.as_ref())
        .map(|handler| handler.options().name)
        .collect();
    names.sort();
    assert_eq!(names, ["nested", "private", "send"]);
}
