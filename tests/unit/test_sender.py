"""The sender of a request: coarse, steady through updates, and never what a client wrote."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratchet.sender import Sender, agent_of, network_of
from ratchet.session import MAX_AGENT, MAX_NETWORK

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT}"
LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:127.0)"
PHONE = f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT}"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15"
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("source_ip", "network"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("203.0.113.255", "203.0.113.0/24"),
        ("255.255.255.255", "255.255.255.0/24"),
        ("127.0.0.1", "127.0.0.0/24"),
        ("10.1.2.3", "10.1.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("2001:0DB8:0001:ffff:ffff:ffff:ffff:ffff", "2001:db8:1::/48"),
        ("ffff:ffff:ffff:1::", "ffff:ffff:ffff::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("::1", "::/48"),
        # the same line, whichever of its sockets took it
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("", ""),
        ("203.0.113", ""),
        ("203.0.113.7, 198.51.100.1", ""),
        ("203.0.113.7/24", ""),
        ("localhost", ""),
    ],
)
def test_an_address_is_cut_to_its_network(source_ip: str, network: str) -> None:
    assert network_of(source_ip) == network


@pytest.mark.parametrize(
    ("user_agent", "agent"),
    [
        (f"{WINDOWS} Chrome/126.0.0.0 Safari/537.36", "Chrome on Windows"),
        (f"{WINDOWS} Chrome/126.0.0.0 Safari/537.36 Edg/126.0", "Edge on Windows"),
        (f"{WINDOWS} Chrome/126.0.0.0 Safari/537.36 OPR/111.0", "Opera on Windows"),
        (f"{MAC} Version/17.5 Safari/605.1.15", "Safari on macOS"),
        (f"{LINUX} Gecko/20100101 Firefox/127.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Android 14; Mobile) Gecko/127.0 Firefox/127.0", "Firefox on Android"),
        (f"{PHONE} Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome on Android"),
        (f"{PHONE} SamsungBrowser/25.0 Chrome/121.0", "Samsung on Android"),
        (f"{IPHONE} (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1", "Safari on iOS"),
        (f"{IPHONE} (KHTML, like Gecko) CriOS/126.0 Mobile/15E148 Safari/604.1", "Chrome on iOS"),
        (f"{IPHONE} (KHTML, like Gecko) FxiOS/127.0 Mobile/15E148 Safari/605", "Firefox on iOS"),
        (f"{IPHONE} (KHTML, like Gecko) EdgiOS/126.0 Mobile/15E148 Safari/605", "Edge on iOS"),
        # an application's own browser window, and robots
        (f"{IPHONE} (KHTML, like Gecko) Mobile/15E148", "other"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "other"),
        ("python-httpx/0.27.0", "python-httpx"),
        ("Python-urllib/3.12", "Python-urllib"),
        ("python-urllib3/2.2", "python-urllib3"),
        ("okhttp/4.12.0", "okhttp"),
        ("Dart/3.4 (dart:io)", "Dart"),
        ("com.example.app/42 CFNetwork/1496 Darwin/23.5", "com.example.app"),
        ("curl", "curl"),
        # a version in the name would make another device of every update
        ("MyApp-1.2.3", "other"),
        ("MyApp2026.11", "other"),
        ("(unknown)", "other"),
        ("/1.0", "other"),
        ("a" * 24 + "/1", "a" * 24),
        ("a" * 25 + "/1", "other"),
        ("a" * 25, "other"),
        # nobody's secret, in a header where none belongs
        ("hunter2hunter2", "other"),
        ("kJ8s0aP2xV9wQe7Lr1Tn5Q", "other"),
        ("rt1_" + "A" * 104, "other"),
        ("Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer"),
        ("curl\r\nX: y", "other"),
        ("", ""),
    ],
)
def test_a_user_agent_becomes_a_family_without_a_version(user_agent: str, agent: str) -> None:
    assert agent_of(user_agent) == agent


@pytest.mark.parametrize(
    "user_agent", ["python-httpx/{}", f"{WINDOWS} Chrome/{{}}.0.0.0 Safari/537.36", "MyApp-{}"]
)
def test_an_update_does_not_make_another_device(user_agent: str) -> None:
    assert agent_of(user_agent.format(126)) == agent_of(user_agent.format(127))


@given(source_ip=st.text() | st.ip_addresses().map(str), user_agent=st.text())
@example(source_ip="ffff:ffff:ffff::", user_agent=f"{PHONE} SamsungBrowser/25 Chrome/1")
@example(source_ip="", user_agent="a" * 10_000)
@example(source_ip="", user_agent="Mozilla/5.0 " + "Windows " * 2_000)
def test_whatever_was_written_only_short_plain_words_come_through(
    source_ip: str, user_agent: str
) -> None:
    sender = Sender.of(source_ip, user_agent)
    assert len(sender.network) <= MAX_NETWORK
    assert len(sender.agent) <= MAX_AGENT
    assert re.fullmatch("([0-9a-f.:]+/(24|48))?", sender.network)
    assert re.fullmatch("[A-Za-z0-9._ -]*", sender.agent)
