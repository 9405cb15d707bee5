"""Reference firmware: samples sensors at a fixed rate and sends checked frames over the USB serial port.

On a Raspberry Pi Pico with MicroPython:   mpremote cp tocsin_frame.py main.py :   and reset the board
On a PC, with made-up signals:             micropython main.py      or      python3 main.py
Only so many frames:                       python3 main.py 10

In the agent's tocsin.toml:

    [[serial]]
    name = "pico"
    port = "/dev/serial/by-id/usb-MicroPython_Board_in_FS_mode_XXXX-if00"
    format = "cobs"
    asset = "pump-1"
    columns = ["vibration", "temperature"]

What it takes care of:
1. Samples lie on one grid: a late one does not move those after it. After a pause (the PC was away and the port full) a new
   frame begins, so that no frame claims a spacing that it does not have.
2. A sensor that fails gives "absent" for its channel, and the others go on.
3. Without a clock the frame says so, and the agent dates it by its arrival.
"""

import math
import sys
import time

from tocsin_frame import frame

RATE_HZ = 50
SAMPLES_PER_FRAME = 25
PERIOD_US = 1_000_000 // RATE_HZ

try:
    from machine import ADC

    _accel = ADC(26)  # an accelerometer's analogue output, 0 to 3.3 V
    _chip = ADC(4)  # the Pico's own temperature sensor

    def read_vibration():
        """Millivolts at the accelerometer's output."""
        return _accel.read_u16() * 3300 / 65535

    def read_temperature():
        """Degrees Celsius, by the RP2040 datasheet, section 4.9.5."""
        return 27 - (_chip.read_u16() * 3.3 / 65535 - 0.706) / 0.001721

except ImportError:  # no board: signals of its own making

    def read_vibration():
        return 1650 + 20 * math.sin(2 * math.pi * 12.5 * ticks_us() / 1e6)

    def read_temperature():
        return 40 + math.sin(ticks_us() / 1e7)


CHANNELS = (read_vibration, read_temperature)  # in the order of `columns` in tocsin.toml


if hasattr(time, "ticks_us"):  # MicroPython: a counter that wraps

    def ticks_us():
        return time.ticks_us()

    def since_us(start):
        return time.ticks_diff(time.ticks_us(), start)

    def sleep_us(us):
        time.sleep_us(us)

else:

    def ticks_us():
        return time.monotonic_ns() // 1000

    def since_us(start):
        return ticks_us() - start

    def sleep_us(us):
        time.sleep(us / 1e6)


def unix_us():
    """Unix time in microseconds, 0 where the clock was never set."""
    epoch_s = 946_684_800 if time.gmtime(0)[0] == 2000 else 0  # many boards count from 2000
    now_ns = time.time_ns() if hasattr(time, "time_ns") else int(time.time()) * 1_000_000_000
    now_us = now_ns // 1000 + epoch_s * 1_000_000
    return now_us if now_us > 1_735_689_600_000_000 else 0  # before 2025: nobody set it


def sample():
    """One value a channel; NaN where its sensor fails."""
    row = []
    for read in CHANNELS:
        try:
            row.append(float(read()))
        except (OSError, ValueError):
            row.append(float("nan"))
    return row


def run(write, n_frames=None):
    """Sample and send; for ever, or `n_frames` frames."""
    seq = 0
    while n_frames is None or seq < n_frames:
        start, t0_us, rows = ticks_us(), unix_us(), []
        while len(rows) < SAMPLES_PER_FRAME:
            due_us = len(rows) * PERIOD_US
            early_us = due_us - since_us(start)
            if early_us > 0:
                sleep_us(early_us)
            elif early_us < -PERIOD_US and rows:
                break  # too late for this grid
            rows.append(sample())
        write(frame(seq, t0_us, PERIOD_US, rows))
        seq += 1
        rest_us = len(rows) * PERIOD_US - since_us(start)
        if rest_us > 0:
            sleep_us(rest_us)


def main():
    argv = getattr(sys, "argv", [])
    out = getattr(sys.stdout, "buffer", sys.stdout)

    def write(data):
        out.write(data)
        if hasattr(out, "flush"):
            out.flush()

    run(write, int(argv[1]) if len(argv) > 1 else None)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
