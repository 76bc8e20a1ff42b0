"""Open a page in the browser of this computer from which tools/predict.py is run: choose, run, look, download.

Only programs on this computer can reach the page, and only with the address that is printed.
"""

import argparse
import hmac
import importlib.util
import json
import logging
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import webbrowser
import zipfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from noise_mm.errors import InputError, run_command

if TYPE_CHECKING:
    from flask import Flask

PREDICT, APPLY_REVIEW = (Path(__file__).with_name(name) for name in ('predict.py', 'apply_review.py'))
HOST = '127.0.0.1'
KEPT_LINES = 500
# Fields of the form that are options of predict.py.
VALUES = ('weights', 'nuclei_weights', 'plate_map', 'mpp', 'score_thr', 'min_nuclei')
FLAGS = ('fast', 'well_mask', 'resume')
SUFFIXES = {'weights': ('.pt', '.pth'), 'nuclei_weights': ('.pt', '.pth'), 'plate_map': ('.csv', '.xlsx')}
DOWNLOADED = ('*.csv', '*.xlsx', 'run.json', 'index.html', '*.geojson', '*.geojson.gz', '*_RoiSet.zip', '*_nuclei.roi')
TILES = re.compile(r'^(?P<well>.+): (?P<done>\d+)/(?P<total>\d+) tiles, ')
RESUMED = re.compile(r'^(?P<done>\d+) of \d+ wells are finished')
WELL_DONE = re.compile(r'^(failed: .+|.+: \d+ cells, .+)$')


class Job:
    """One run of tools/predict.py or tools/apply_review.py.

    Args:
        command: The command line.
        out: Folder of its results.
        wells: Number of images.
    """

    def __init__(self, command: list[str], out: Path, wells: int) -> None:
        self.out, self.wells = out, wells
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.wells_done, self.share_of_well = 0, 0.0
        self.was_cancelled = False
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding='utf-8',
            errors='replace',
            env={**os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONIOENCODING': 'utf-8'},
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        """Follow the output until the run ends."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            if tiles := TILES.match(line):
                self.share_of_well = int(tiles['done']) / int(tiles['total'])
            elif resumed := RESUMED.match(line):
                self.wells_done = int(resumed['done'])
            elif WELL_DONE.match(line):
                self.wells_done, self.share_of_well = self.wells_done + 1, 0.0
        self.process.wait()

    def state(self) -> str:
        """Return `running`, `done`, `cancelled` or `failed`."""
        if self.reader.is_alive():
            return 'running'
        return 'cancelled' if self.was_cancelled else 'failed' if self.process.returncode else 'done'

    def cancel(self) -> None:
        """End the run. Wells that are complete stay, and so does their summary."""
        if self.state() == 'running':
            self.was_cancelled = True
            self.process.terminate()

    def report(self) -> dict[str, Any]:
        """Return what the page shows of the run."""
        state, lines, count = self.state(), list(self.lines), f'{self.wells_done} of {self.wells} images'
        errors = [line for line in lines if line.startswith('error: ')]
        message = {
            'running': f'{count} done',
            'done': f'Done: {" ".join(lines[-1:])}',
            'cancelled': f'Cancelled after {count}; tick "continue" to go on.',
            'failed': (errors or lines or ['ended without a word'])[-1],
        }
        return {
            'state': state,
            'message': message[state],
            'share': 1.0 if state == 'done' else min((self.wells_done + self.share_of_well) / self.wells, 1.0),
            'log': '\n'.join(lines),
            'has_page': self.has_page(),
        }

    def has_page(self) -> bool:
        """Return whether it has ended and left results."""
        has_results = self.state() == 'done' or (self.state() != 'running' and self.wells_done > 0)
        return has_results and (self.out / 'index.html').is_file()


def predict_command(form: Mapping[str, Any]) -> tuple[list[str], Path, int]:
    """Return the command line for what was filled in, the folder of its results and the number of images.

    Raises:
        InputError: If something necessary is empty, or there are no images.
    """
    from noise_mm.slides.well_images import find_images

    filled = {name: str(value).strip() for name, value in form.items() if value not in (None, '', False)}
    for name in filled.keys() & {'mpp', 'score_thr'}:
        filled[name] = filled[name].replace(',', '.')  # as half of the world writes them
    for name, what in (('wells', 'a folder of wells'), ('weights', 'weights')):
        if not filled.get(name):
            raise InputError(f'Choose {what}.')
    wells = Path(filled['wells']).expanduser().absolute()
    images = find_images([wells])
    out = Path(filled.get('out') or wells.with_name(f'{wells.stem}_results')).expanduser().absolute()
    formats = 'coco,csv,overlay' + (',roi,geojson' if 'exports' in filled else '')
    words = [f'--{name.replace("_", "-")}={filled[name]}' for name in VALUES if filled.get(name)]
    words += [f'--{name.replace("_", "-")}' for name in FLAGS if name in filled]
    return [sys.executable, str(PREDICT), str(wells), f'--out={out}', f'--formats={formats}', *words], out, len(images)


def folder_content(path: str, kind: str) -> dict[str, Any]:
    """Return what the chooser shows of a folder of this computer; the home folder if `path` is empty.

    Args:
        path: The folder, or a file in it.
        kind: The field to fill: its files are listed, images only counted.

    Raises:
        InputError: If it can't be read.
    """
    from noise_mm.slides.slide import SLIDE_SUFFIXES

    folder = Path(path).expanduser().absolute() if path else Path.home()
    folder = folder if folder.is_dir() else folder.parent
    try:
        entries = sorted(
            (each for each in folder.iterdir() if not each.name.startswith('.')), key=lambda each: each.name.lower()
        )
        folders = [each.name for each in entries if each.is_dir()]
    except OSError as error:
        raise InputError(f'{folder}: {error.strerror}. Choose another folder.') from error
    suffixes = SUFFIXES.get(kind, tuple(SLIDE_SUFFIXES))
    files = [each.name for each in entries if each.name.lower().endswith(suffixes)]
    return {
        'path': str(folder),
        'parent': str(folder.parent),
        'folders': folders,
        'files': files if kind in SUFFIXES else [],
        'images': None if kind in SUFFIXES else len(files),
        'separator': os.sep,
    }


def make_app(token: str) -> 'Flask':
    """Return the web application.

    Args:
        token: Requests need it, in the address of the page and then in a cookie.
    """
    from flask import Flask, abort, jsonify, make_response, render_template, request, send_file, send_from_directory

    from noise_mm.checkpoints.weights import known_weights

    app = Flask(__name__, template_folder=str(Path(__file__).parent), static_folder=None)
    app.config['TRUSTED_HOSTS'] = [HOST]
    app.jobs = []  # the last one counts

    @app.before_request
    def refuse_strangers() -> None:
        """Refuse other users and pages of other sites; Flask itself refuses other host names."""
        given = request.args.get('token') or request.cookies.get(cookie(), '')
        if not hmac.compare_digest(given.encode(), token.encode()):
            abort(403, 'Open the address that tools/app.py printed.')
        if request.headers.get('Origin', request.host_url[:-1]) != request.host_url[:-1]:
            abort(403, 'Only the page itself may ask for this.')

    def cookie() -> str:
        """Return the name of the cookie: browsers send those of all ports of a host."""
        return f'noise_mm_{request.host.rpartition(":")[2]}'

    @app.errorhandler(InputError)
    def report(error: InputError) -> Any:
        return jsonify(error=str(error)), 400

    @app.get('/')
    def page() -> Any:
        answer = make_response(render_template('app.html', weights=list(known_weights())))
        answer.set_cookie(cookie(), token, httponly=True, samesite='Strict')
        return answer

    @app.get('/folder')
    def folder() -> Any:
        return folder_content(request.args.get('path', ''), request.args.get('kind', 'wells'))

    def start(*job: Any) -> dict[str, Any]:
        if app.jobs and app.jobs[-1].state() == 'running':
            raise InputError('A run is under way. Cancel it, or wait for its end.')
        app.jobs.append(Job(*job))
        return app.jobs[-1].report()

    def shown() -> Job:
        """Return the last run with results."""
        return next((job for job in reversed(app.jobs) if job.has_page()), None) or abort(404)

    @app.post('/run')
    def run() -> Any:
        return start(*predict_command(request.get_json()))

    @app.post('/review')
    def review() -> Any:
        job = shown()
        file, out = (job.out.with_name(f'{job.out.name}_{ending}') for ending in ('review.json', 'reviewed'))
        file.write_text(json.dumps(request.get_json()), encoding='utf-8')
        return start([sys.executable, str(APPLY_REVIEW), str(job.out), str(file), f'--out={out}'], out, job.wells)

    @app.post('/cancel')
    def cancel() -> Any:
        if app.jobs:
            app.jobs[-1].cancel()
        return status()

    @app.get('/status')
    def status() -> Any:
        return app.jobs[-1].report() if app.jobs else {'state': 'idle'}

    @app.get('/results/<path:name>')
    def results(name: str) -> Any:
        return send_from_directory(shown().out, name, max_age=0)

    @app.get('/tables.zip')
    def tables() -> Any:
        out, file = shown().out, tempfile.TemporaryFile()  # noqa: SIM115 - Flask closes it
        with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
            for path in sorted({path for pattern in DOWNLOADED for path in out.glob(pattern)}):
                archive.write(path, path.name)
        file.seek(0)
        return send_file(file, 'application/zip', as_attachment=True, download_name=f'{out.name}.zip', max_age=0)

    return app


def serve(port: int, opens_browser: bool) -> None:
    """Serve the page until the process is interrupted.

    Raises:
        InputError: If the port is in use.
    """
    from werkzeug.serving import make_server

    token = secrets.token_urlsafe(16)
    app = make_app(token)
    logging.getLogger('werkzeug').setLevel(logging.ERROR)
    try:
        server = make_server(HOST, port, app, threaded=True)
    except SystemExit as error:  # Werkzeug has printed the system's reason
        raise InputError(f'--port {port}: cannot be used. Leave it out, or choose another.') from error
    address = f'http://{HOST}:{server.port}/?token={token}'
    print(f'open {address}\nThis window must stay open; Ctrl-C ends the program.', flush=True)
    if opens_browser:
        webbrowser.open(address)
    try:
        server.serve_forever()
    finally:
        if app.jobs:
            app.jobs[-1].cancel()


def main() -> None:
    """Install what is missing, then serve the page."""
    parser = argparse.ArgumentParser(description=__doc__, epilog='example: python3 tools/app.py')
    parser.add_argument('--port', type=int, default=0, help='port of 127.0.0.1 (default: any that is free)')
    parser.add_argument('--no-browser', action='store_true', help='print the address without opening a browser')
    options = parser.parse_args()
    if importlib.util.find_spec('mmengine') is None:  # not the environment of this project
        import environment

        sys.exit(subprocess.run([str(environment.ensure_environment()), __file__, *sys.argv[1:]]).returncode)
    if importlib.util.find_spec('flask') is None:
        raise InputError("Flask is not installed. Install it: pip install 'flask>=3.1'")
    serve(options.port, not options.no_browser)


if __name__ == '__main__':
    run_command(main)
