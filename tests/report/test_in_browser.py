"""The whole report in headless Chromium: it loads nothing, and picture, plots and controls move together."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from bundle.structures import STRUCTURES

SCRUB = """
const scrubber = document.getElementById("scrubber");
scrubber.value = arguments[0];
scrubber.dispatchEvent(new Event("input", { bubbles: true }));
"""
CURSORS = """return [...document.querySelectorAll(".cursor")].map((line) => Number(line.getAttribute("x1")));"""
LOW_CONTRAST = """
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const color = numbers(getComputedStyle(e).backgroundColor);
    if (color.length < 4 || color[3] === 1) return color;
  }
};
return [...document.querySelectorAll("body *")].filter((e) => {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  return own && e.checkVisibility() && !e.closest("script, noscript, style");
}).map((e) => {
  const style = getComputedStyle(e);
  const text = numbers(e instanceof SVGElement ? style.fill : style.color);
  const pair = [luminance(text), luminance(behind(e))].sort((a, b) => b - a);
  const need = e.matches("svg .code") ? 3 : 4.5;
  return { text: e.textContent.trim(), ratio: (pair[0] + 0.05) / (pair[1] + 0.05), need };
}).filter(({ ratio, need }) => ratio < need);
"""


@pytest.fixture
def page(browser, study):
    """The report, just opened at a desktop's size."""
    emulate(browser)
    browser.get(study.path.as_uri())
    wait_for(browser, "frame 1 of 30")
    return browser


def emulate(browser, width=1280, height=900, media="", **features):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    preferences = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": preferences})


def wait_until(browser, is_so):
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60, poll_frequency=0.05).until(lambda _: is_so())


def wait_for(browser, start: str):
    wait_until(browser, lambda: moment(browser).startswith(start))


def moment(browser) -> str:
    return browser.execute_script('return document.getElementById("moment").textContent')


def scrub(browser, frame: int):
    browser.execute_script(SCRUB, frame)
    wait_for(browser, f"frame {frame + 1} of")


def find(browser, selector: str):
    return browser.find_element("css selector", selector)


def press(browser, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def picture(browser, selector="#picture") -> np.ndarray:
    """What a canvas shows ``(h, w, 3)``, 0 to 255."""
    url = browser.execute_script(f"return document.querySelector({selector!r}).toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB")).astype(float)


def shrunk(image: np.ndarray, size=(256, 256)) -> np.ndarray:
    return np.asarray(Image.fromarray(image.astype(np.uint8)).resize(size, Image.Resampling.BOX)).astype(float)


def test_it_loads_without_errors_and_asks_for_nothing(page):
    assert page.get_log("browser") == []
    loaded = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in loaded if not name.startswith("data:")] == []


def test_its_policy_refuses_the_network(page):
    directive = page.execute_async_script("""
        const done = arguments[arguments.length - 1];
        document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
        fetch("https://127.0.0.1:9/").catch(() => {});
    """)
    assert directive == "connect-src"
    page.get_log("browser")  # the refusal is logged, and is not the next test's


def test_it_shows_the_clips_own_frames(page, study):
    find(page, "#none").click()
    scrub(page, 12)
    difference = shrunk(picture(page))[..., 0] / 255 - study.clip.frames[12, 0]
    assert np.abs(difference).mean() < 0.01


def test_the_overlay_lies_on_the_mask_and_nowhere_else(page, study):
    find(page, "#none").click()
    find(page, "#letters").click()
    scrub(page, 12)
    plain = picture(page)
    find(page, f'[data-structure="{STRUCTURES.index("tongue")}"]').click()
    painted = np.abs(picture(page) - plain).sum(axis=-1) > 0
    share = shrunk(255.0 * painted) / 255
    mask = study.masks[12, STRUCTURES.index("tongue")]
    assert share[mask].mean() > 0.99
    assert share[~binary_dilation(mask, np.ones((5, 5)))].max() == 0  # the outline's own width lies outside


def test_the_scrubber_moves_picture_cursors_and_read_out_values(page, study):
    scrub(page, 3)
    first, cursors, value = picture(page), page.execute_script(CURSORS), find(page, ".key output").text
    scrub(page, 16)
    assert np.abs(picture(page) - first).mean() > 0.5
    moved = page.execute_script(CURSORS)
    assert len(moved) == 4  # three plots and the events' names
    assert all(after > before + 20 for before, after in zip(cursors, moved, strict=True))
    assert find(page, ".key output").text != value
    assert moment(page) == f"frame 17 of 30 · {study.clip.frame_times_ms[16] / 1000:.3f} s"


def test_keys_step_jump_and_play(page):
    from selenium.webdriver import Keys

    press(page, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    wait_for(page, "frame 2 of")
    press(page, Keys.END)
    wait_for(page, "frame 30 of")
    press(page, Keys.HOME)
    wait_for(page, "frame 1 of")
    press(page, Keys.SPACE)
    assert find(page, "#play").get_attribute("aria-label") == "Pause"
    wait_until(page, lambda: not moment(page).startswith("frame 1 of"))
    press(page, Keys.SPACE)
    assert find(page, "#play").get_attribute("aria-label") == "Play"


def test_the_arrow_keys_step_once_when_the_scrubber_has_the_focus(page):
    from selenium.webdriver import Keys

    page.execute_script('document.getElementById("scrubber").focus()')
    press(page, Keys.ARROW_RIGHT)
    wait_for(page, "frame 2 of")
    assert find(page, "#scrubber").get_attribute("aria-valuetext").startswith("frame 2 of 30")


def test_switches_opacity_and_letters_change_the_overlay_and_bring_it_back(page):
    before = picture(page)
    for selector in ('[data-structure="3"]', "#letters"):
        find(page, selector).click()
        assert np.abs(picture(page) - before).max() > 20
        find(page, selector).click()
        np.testing.assert_array_equal(picture(page), before)
    page.execute_script(
        'const o = document.getElementById("opacity"); o.value = 80; o.dispatchEvent(new Event("input"))'
    )
    assert np.abs(picture(page) - before).max() > 20
    find(page, "#none").click()
    assert np.ptp(picture(page), axis=-1).max() <= 2  # gray only
    assert not find(page, '[data-structure="0"]').is_selected()


def test_a_key_frame_leads_to_its_frame_and_shows_it(page, study):
    peak = study.measures.swallows[0].events["hyoid_peak"]
    selector = f'.key-frame[data-frame="{peak}"]'
    assert picture(page, f"{selector} canvas").std() > 10
    find(page, selector).click()
    wait_for(page, f"frame {peak + 1} of")
    assert find(page, selector).get_attribute("aria-current") == "true"


def test_a_click_in_a_plot_leads_to_the_frame_below_it(page):
    from selenium.webdriver import ActionChains

    plot = find(page, '[data-plot="areas"] > svg')
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(page).move_to_element(plot).click().perform()
    cursor = page.execute_script(CURSORS)[2]
    assert abs(cursor - plot.size["width"] / 2) < 12  # half the distance of two frames
    assert not moment(page).startswith("frame 1 of")


def test_a_phones_width_needs_no_sideways_scrolling(page):
    emulate(page, 360, 800)
    assert page.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
    assert find(page, "#picture").size["width"] > 300


def test_every_control_has_a_name_and_can_be_reached(page):
    controls = page.find_elements("css selector", "button, input, select, a")
    assert len(controls) > 25
    assert [control.get_attribute("outerHTML") for control in controls if not control.accessible_name.strip()] == []
    assert [control for control in controls if control.get_attribute("tabindex") == "-1"] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_color_schemes(page, scheme):
    emulate(page, prefers_color_scheme=scheme)
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(243, 244, 246)", "dark": "rgb(16, 19, 23)"}[scheme]
    assert page.execute_script(LOW_CONTRAST) == []


def test_the_intended_use_is_at_the_top_and_on_paper(page):
    assert find(page, ".notice").location["y"] < 200
    emulate(page, media="print", prefers_color_scheme="dark")
    for selector in (".notice", "footer"):
        assert find(page, selector).is_displayed()
        assert "Research use only, not for diagnosis" in find(page, selector).text
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not find(page, "#play").is_displayed()
    assert min(name.size["width"] for name in page.find_elements("css selector", ".switch .name")) > 100
