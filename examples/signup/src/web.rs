//! What the program says over HTTP: a form to sign up with, and two pages for those who look after it.

use axum::{
    Form, Json, RequestExt as _, Router,
    extract::{FromRequest, Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use evertask::{
    DispatchError, LoopHealth, Page, Runtime, ScheduleInfo, Stall, StorageError, TaskFilter,
    TaskInfo, storage::Backlog,
};
use lettre::Address;
use serde::Deserialize;

use crate::{
    mail::send_welcome_email,
    users::{Users, UsersError},
};

/// What all pages share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) users: Users,
    pub(crate) runtime: Runtime,
}

/// All pages.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("form.html"))))
        .route("/signup", post(sign_up))
        .route("/tasks", get(tasks))
        .route("/health", get(health))
        .with_state(app)
}

/// Stores the user and a task for the welcome mail. Once this says yes, both outlive any crash.
///
/// They lie in two databases, and the program may die between the two: then the same sign-up, sent again, finds the user
/// not yet welcomed and makes up for it. The key makes one task of a sign-up sent twice at once, as long as its mail is not out.
async fn sign_up(State(app): State<App>, sign_up: SignUp) -> Result<(StatusCode, String), Problem> {
    let user = app.users.join(sign_up.email, sign_up.name).await?;
    if user.welcomed {
        return Ok((StatusCode::OK, format!("{} has signed up before\n", user.email)));
    }
    let task = send_welcome_email::dispatch(&user.email, &user.name)
        .key(format!("welcome:{}", user.email))
        .await?;
    app.users.welcomed(user.email.clone(), task.id()).await?;
    tracing::info!(email = user.email, task = %task.id(), "signed up");
    Ok((
        StatusCode::CREATED,
        format!("welcome, {}; a mail is on its way to {}\n", user.name, user.email),
    ))
}

/// The newest tasks, one a line.
async fn tasks(State(app): State<App>) -> Result<String, Problem> {
    let tasks = app.runtime.tasks(TaskFilter::default(), Page::default()).await?;
    let lines = tasks.into_iter().map(|task| {
        let TaskInfo { id, state, attempt, name, key, error, .. } = task;
        let (key, error) = (key.unwrap_or_default(), error.unwrap_or_default());
        let state = state.as_str();
        let line = format!("{id}  {state:<9}  attempt {attempt}  {name}  {key}  {error}");
        line.trim_end().to_owned() + "\n"
    });
    Ok(lines.collect())
}

/// 200 if all is well, 503 if not, and why.
async fn health(State(app): State<App>) -> (StatusCode, String) {
    let health = app.runtime.health().await;
    let (status, word) = if health.ok {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ok")
    };
    let mut lines = vec![word.to_owned()];
    lines.push(format!("running {} of {}", health.running, health.concurrency));
    for Backlog { due, queue, oldest, .. } in health.due {
        lines.push(format!("{due} due in queue {queue}, the first for {} s", oldest.as_secs()));
    }
    for Backlog { due, queue, name, .. } in health.unserved {
        lines.push(format!("{due} due in queue {queue} that nobody here can run: {name}"));
    }
    for ScheduleInfo { name, words, .. } in health.undeclared {
        lines.push(format!("the schedule of {name} is declared by nobody any more: {words}"));
    }
    for LoopHealth { name, failing, .. } in health.loops {
        lines.extend(failing.map(|(since, error)| format!("{name} fails for {since:?}: {error}")));
    }
    lines.extend(health.storage_error.map(|error| format!("the storage does not answer: {error}")));
    if let Some(Stall { since, handlers, .. }) = health.stalled {
        lines.push(format!("standing still for {since:?}, in one of: {}", handlers.join(", ")));
    }
    (status, lines.join("\n") + "\n")
}

/// A sign-up as it was sent, checked.
#[derive(Debug, Deserialize, PartialEq, Eq)]
struct SignUp {
    name: String,
    email: String,
}

impl SignUp {
    fn checked(self) -> Result<Self, String> {
        let name = self.name.trim().to_owned();
        // Nobody's mail server tells `Ada@` from `ada@`, and nobody is to sign up once as each.
        let email = self.email.trim().to_lowercase();
        if name.is_empty() {
            return Err("`name` is empty; say what to call you".into());
        }
        if name.chars().count() > 100 || name.chars().any(char::is_control) {
            return Err(
                "`name` is too long or holds control characters; at most 100 characters fit".into(),
            );
        }
        if email.chars().count() > 190 {
            return Err("`email` is too long; at most 190 characters fit".into());
        }
        if let Err(error) = email.parse::<Address>() {
            return Err(format!("`email` is no mail address: {error}"));
        }
        Ok(Self { name, email })
    }
}

/// From a form or from JSON, as the request says.
impl<S: Send + Sync> FromRequest<S> for SignUp {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.as_bytes());
        let is_json = content_type.is_some_and(|kind| kind.starts_with(b"application/json"));
        let sign_up: Self = if is_json {
            request
                .extract::<Json<_>, _>()
                .await
                .map_err(|bad| Problem::Request(bad.body_text()))?
                .0
        } else {
            request
                .extract::<Form<_>, _>()
                .await
                .map_err(|bad| Problem::Request(bad.body_text()))?
                .0
        };
        sign_up.checked().map_err(Problem::Request)
    }
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
enum Problem {
    /// It makes no sense, and why.
    #[error("{0}")]
    Request(String),
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error("the welcome mail: {0}")]
    Dispatch(#[from] DispatchError),
    #[error("the tasks: {0}")]
    Storage(#[from] StorageError),
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        match self {
            Self::Request(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
            // What is wrong with us is for us to know.
            problem => {
                tracing::error!(%problem, "a request failed");
                let sorry = "something went wrong here; please try again\n";
                (StatusCode::SERVICE_UNAVAILABLE, sorry).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(name: &str, email: &str) -> Result<(String, String), String> {
        let sign_up = SignUp { name: name.into(), email: email.into() }.checked()?;
        Ok((sign_up.name, sign_up.email))
    }

    #[test]
    fn a_sign_up_is_trimmed_and_its_address_unified() {
        let ada = Ok(("Ada".to_owned(), "ada@example.com".to_owned()));
        assert_eq!(checked(" Ada\n", " Ada@Example.com "), ada);
    }

    #[test]
    fn what_is_wrong_with_a_sign_up_is_said() {
        let said = |name: &str, email: &str| checked(name, email).unwrap_err();
        assert!(said(" ", "ada@example.com").starts_with("`name` is empty"));
        assert!(
            said("A\r\nBcc: eve@example.com", "ada@example.com").contains("control characters")
        );
        assert!(said(&"A".repeat(101), "ada@example.com").contains("at most 100"));
        assert!(said("Ada", "nowhere").starts_with("`email` is no mail address"));
        let long = format!("ada@{}example.com", "sub.".repeat(50));
        assert!(said("Ada", &long).contains("at most 190"));
    }
}
