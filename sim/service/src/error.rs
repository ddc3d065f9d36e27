//! Errors as the official service words them: `{"error":{"code":…,"status":…,"description":…,"name":…}}`.

use axum::body::Body;
use http::{Response, StatusCode};

use crate::json::write_string;
use crate::responses::json_response;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError {
    status: StatusCode,
    code: &'static str,
    name: &'static str,
    description: String,
    details: Option<String>,
    severity: Option<&'static str>,
}

impl WireError {
    fn new(status: StatusCode, code: &'static str, name: &'static str, description: impl Into<String>) -> Self {
        Self { status, code, name, description: description.into(), details: None, severity: None }
    }

    /// 401, with a code of the S21xx family.
    #[must_use]
    pub fn unauthorized(code: &'static str, description: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, "AuthorizationError", description)
    }

    /// 400: the request is malformed.
    #[must_use]
    pub fn validation(problems: &[String]) -> Self {
        let details = serde_json::Value::from(problems.to_vec()).to_string();
        let error = Self::new(StatusCode::BAD_REQUEST, "PSYNC_S2001", "ValidationError", "Validation failed");
        Self { details: Some(details), ..error }
    }

    /// An error of the web framework that the official service uses.
    #[must_use]
    pub fn framework(status: StatusCode, code: &'static str, description: &str) -> Self {
        Self::new(status, code, "FastifyError", description)
    }

    /// 404.
    #[must_use]
    pub fn no_route(method: &str, path: &str) -> Self {
        let description = "The path does not exist on this server";
        let error = Self::new(StatusCode::NOT_FOUND, "PSYNC_S2002", "RouteNotFound", description);
        let details = format!("The path {method} \"{path}\" does not exist on this server");
        Self { details: Some(details), severity: Some("info"), ..error }
    }

    /// 503: the service is being stopped.
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "PSYNC_S2003", "ServiceError", "Server is shutting down")
    }

    /// 500: no sync configuration is active.
    #[must_use]
    pub fn not_ready() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "PSYNC_S2302", "ServiceError", "No sync config available")
    }

    /// 500: an internal error.
    #[must_use]
    pub fn internal(details: &str) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let error = Self::new(status, "PSYNC_S2001", "InternalServerError", "Something went wrong");
        Self { details: Some(details.to_owned()), severity: Some("error"), ..error }
    }

    /// The code, for logs and tests.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The answer.
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let mut body =
            format!("{{\"error\":{{\"code\":\"{}\",\"status\":{},\"description\":", self.code, self.status.as_u16());
        write_string(&mut body, &self.description);
        if let Some(details) = &self.details {
            body.push_str(",\"details\":");
            write_string(&mut body, details);
        }
        if let Some(severity) = self.severity {
            body.push_str(",\"severity\":");
            write_string(&mut body, severity);
        }
        body.push_str(",\"name\":");
        write_string(&mut body, self.name);
        body.push_str("}}");
        let mut response = json_response(body);
        *response.status_mut() = self.status;
        response
    }
}
