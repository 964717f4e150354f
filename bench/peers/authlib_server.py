"""Authlib on Flask, as its documentation has it: Flask-SQLAlchemy and its mixins, on SQLite.

DATABASE (a file). POST /start begins a session; GET /count tells what was asked of the database.
"""

import os
import time
from collections import Counter

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.integrations.sqla_oauth2 import (
    OAuth2ClientMixin,
    OAuth2TokenMixin,
    create_query_client_func,
    create_save_token_func,
)
from authlib.oauth2.rfc6749 import grants
from flask import Flask, jsonify
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import event

DAY = 86400

app = Flask(__name__)
app.config.update(
    SQLALCHEMY_DATABASE_URI=f"sqlite:///{os.environ['DATABASE']}",
    OAUTH2_REFRESH_TOKEN_GENERATOR=True,
    OAUTH2_TOKEN_EXPIRES_IN={"refresh_token": 3600},
)
# TLS is for what stands in front of it.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
db = SQLAlchemy(app)


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)

    def get_user_id(self):
        return self.id


class Client(db.Model, OAuth2ClientMixin):
    id = db.Column(db.Integer, primary_key=True)


class Token(db.Model, OAuth2TokenMixin):
    id = db.Column(db.Integer, primary_key=True)
    user_id = db.Column(db.Integer, db.ForeignKey("user.id"))


class RefreshTokenGrant(grants.RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = ("none",)

    def authenticate_refresh_token(self, refresh_token):
        found = Token.query.filter_by(refresh_token=refresh_token).first()
        usable = found and not found.is_revoked() and found.issued_at + 14 * DAY > time.time()
        return found if usable else None

    def authenticate_user(self, refresh_token):
        return db.session.get(User, refresh_token.user_id)

    def revoke_old_credential(self, refresh_token):
        refresh_token.access_token_revoked_at = refresh_token.refresh_token_revoked_at = int(
            time.time()
        )
        db.session.add(refresh_token)
        db.session.commit()


server = AuthorizationServer(
    app,
    query_client=create_query_client_func(db.session, Client),
    save_token=create_save_token_func(db.session, Token),
)
server.register_grant(RefreshTokenGrant)
counted: Counter[str] = Counter()


@app.post("/token")
def token():
    return server.create_token_response()


@app.post("/start")
def start():
    user = User()
    db.session.add(user)
    db.session.commit()
    client = Client.query.filter_by(client_id="app").first()
    made = server.generate_token("refresh_token", client, user=user, scope="read")
    db.session.add(Token(client_id="app", user_id=user.id, **made))
    db.session.commit()
    return jsonify(made)


@app.get("/count")
def count():
    return jsonify(counted)


with app.app_context():

    @event.listens_for(db.engine, "connect")
    def _connected(connection, _):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA busy_timeout = 20000")

    if os.environ.get("COUNTED"):

        @event.listens_for(db.engine, "before_cursor_execute")
        def _count(_connection, _cursor, statement, *_):
            counted[statement.split(maxsplit=1)[0]] += 1

    db.create_all()
    if Client.query.count() == 0:
        client = Client(client_id="app", client_id_issued_at=int(time.time()))
        client.set_client_metadata(
            {
                "grant_types": ["refresh_token"],
                "scope": "read",
                "token_endpoint_auth_method": "none",
            }
        )
        db.session.add(client)
        db.session.commit()
