"""Every parser of the project with small files that it reads: what the mutation tests start from."""

import contextlib
import gzip
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import shapely
import tifffile
from PIL import Image
from roifile import ROI_OPTIONS, ROI_TYPE, ImagejRoi

from noise_mm.coco.annotations import coco_annotation
from noise_mm.coco.segmentation import mask_annotation
from noise_mm.datasets.coco_patches import parse_coco
from noise_mm.evaluation.coco_results import score_results_files
from noise_mm.files import read_json
from noise_mm.formats.nuclei_points import read_nuclei_points
from noise_mm.formats.read import read_outlines
from noise_mm.formats.via import read_via
from noise_mm.formats.yolo import read_yolo_rows
from noise_mm.geometry.cell_masks import CellMask
from noise_mm.inspection.annotation_files import find_parts
from noise_mm.inspection.dataset import check_part
from noise_mm.report.plate_map import read_plate_map
from noise_mm.slides.resample import slide_thumbnail
from noise_mm.slides.slide import open_slide
from tests.fixtures.microscope_files import write_bif, write_czi, write_lif, write_nd2, write_ndpi, write_philips

SIZE = (60, 50)
CELL = shapely.box(3, 4, 20, 30) - shapely.box(6, 7, 10, 12)
OTHER = shapely.box(30, 5, 50, 20)


class Parser(NamedTuple):
    """One parser and a file that it reads.

    Attributes:
        name: Of both together.
        file_name: What the file is called.
        data: Its bytes.
        parse: Reads the file at a path.
    """

    name: str
    file_name: str
    data: bytes
    parse: Callable[[Path], object]


def all_parsers() -> list[Parser]:
    """Every parser with each kind of file that it reads."""
    return [*_outlines(), *_points(), *_coco(), *_slides(), *_microscope_files()]


def _parse_outlines(path: Path) -> object:
    return read_outlines(path, SIZE, 0.5)


def _outlines() -> list[Parser]:
    files = {
        'polygon.roi': _roi(ImagejRoi.frompoints(np.array([[3, 4], [20, 5], [18, 30]], np.int32))),
        'subpixel.roi': _roi(ImagejRoi.frompoints(np.array([[3.5, 4], [20, 5], [18, 30]], np.float32))),
        'spline.roi': _roi(ImagejRoi.frompoints(np.array([[3, 4], [20, 5], [18, 30]], np.float32)), spline=True),
        'rectangle.roi': _roi(ImagejRoi(roitype=ROI_TYPE.RECT, left=3, top=4, right=30, bottom=20)),
        'oval.roi': _roi(ImagejRoi(roitype=ROI_TYPE.OVAL, left=3, top=4, right=30, bottom=20)),
        'composite.roi': _composite(),
        'cells.csv': b'index,bb_x,bb_y,bb_w,bb_h\n0,10,20,4,6,10,20,14,20,14,26,10,26\n1,1,2,9,8,1,2,10,2,10,10,1,10\n',
        'cells.geojson': _geojson(),
        'cells.geojson.gz': gzip.compress(_geojson()),
        'plain.tif': _tiff(_labels()),
        'tiled.tif': _tiff(_labels(), tile=(16, 16), compression='zlib'),
        'pages.tif': _tiff(np.stack([_labels() == 1, _labels() == 2]).astype(np.uint8)),
        'labels.png': imagecodecs.png_encode(_labels().astype(np.uint16)),
        'coco.json': json.dumps(_dataset()).encode(),
    }
    files['rois.zip'] = _zip({name: data for name, data in files.items() if name.endswith('.roi')})
    files['geojson.zip'] = _zip({'cells.geojson': _geojson()})
    return [Parser(f'outlines {name}', name, data, _parse_outlines) for name, data in files.items()]


def _points() -> list[Parser]:
    via = {'a.png12': {'filename': 'a.png', 'size': 12, 'file_attributes': {}, 'regions': [
        {'shape_attributes': {'name': 'point', 'cx': 5, 'cy': 6}, 'region_attributes': {'a': 'b'}},
        {'shape_attributes': {'name': 'rect', 'x': 1, 'y': 2, 'width': 3, 'height': 4}, 'region_attributes': {}},
    ]}}  # fmt: skip
    csv = (
        'filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n'
        'a.png,12,"{}",1,0,"{""name"":""point"",""cx"":5,""cy"":6}","{}"\n'
    )
    multi_point = ImagejRoi.frompoints(np.array([[3.5, 4], [20, 5], [18, 30]], np.float32))
    multi_point.roitype = ROI_TYPE.POINT
    marked = shapely.MultiPoint([(3, 4), (20, 5)])
    geojson = {'type': 'Feature', 'geometry': shapely.geometry.mapping(marked), 'properties': {}}
    return [
        Parser('points roi', 'a.roi', multi_point.tobytes(), read_nuclei_points),
        Parser('points zip', 'a.zip', _zip({'a.roi': multi_point.tobytes()}), read_nuclei_points),
        Parser('points geojson', 'a.geojson', json.dumps([geojson]).encode(), read_nuclei_points),
        Parser('via json', 'via.json', json.dumps(via).encode(), read_via),
        Parser('via csv', 'via.csv', csv.encode(), read_via),
        Parser('yolo', 'a.txt', b'0 0.5 0.5 0.2 0.4\n0 0 0 1 0 1 1\n', read_yolo_rows),
        Parser('plate map', 'map.csv', b'well,condition\nA1,control\nA2,"drug, 1 uM"\n', read_plate_map),
    ]


def _coco() -> list[Parser]:
    mask = mask_annotation(CellMask.of(OTHER, (60, 50)), 50, 60)
    dataset, results = _dataset(), [
        {'image_id': 1, 'category_id': 1, 'score': 0.5, 'segmentation': [[3, 4, 20, 4, 20, 30]]},
        {'image_id': 1, 'category_id': 1, 'score': 0.25, 'bbox': [1, 2, 9, 8], **mask},
    ]  # fmt: skip
    image = dataset['images'][0]
    patches = {**dataset, 'images': [{**image, 'batch': 'M1', 'well': 'w', 'x': 0, 'y': 0, 'mpp': 0.5}]}

    def training(path: Path) -> object:
        return parse_coco(read_json(path), str(path), ('osteoclast',))

    def scored_truth(path: Path) -> object:
        (path.parent / 'results.json').write_text(json.dumps(results))
        return score_results_files([path], [path.parent / 'results.json'], ('segm', 'bbox'))

    def scored_results(path: Path) -> object:
        (path.parent / 'truth.json').write_text(json.dumps(dataset))
        return score_results_files([path.parent / 'truth.json'], [path], ('segm',))

    def inspected(path: Path) -> object:
        folder = path.parent / 'root' / 'M1'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'annotations.json').write_bytes(path.read_bytes())
        (folder / 'wells.json').write_text('[{"well": "w", "width": 60, "height": 50, "mpp": 0.5, "source": "w"}]')
        return [check_part(part) for part in find_parts(path.parent / 'root')[0]]

    data = json.dumps(patches).encode()
    return [
        Parser('training', 'annotations.json', data, training),
        Parser('ground truth', 'truth.json', data, scored_truth),
        Parser('results', 'results.json', json.dumps(results).encode(), scored_results),
        Parser('inspection', 'annotations.json', data, inspected),
    ]


def _slides() -> list[Parser]:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    tags = {'resolution': (20000, 20000), 'resolutionunit': 'centimeter'}
    sizes = {'PhysicalSizeX': 0.5, 'PhysicalSizeY': 0.5}
    files = {
        'strips.tif': _tiff(pixels, photometric='rgb', rowsperstrip=7, **tags),
        'flat.tif': _tiff(pixels, photometric='rgb', **tags),
        'tiles.tif': _tiff(pixels, photometric='rgb', tile=(16, 16), compression='zlib', predictor=True),
        'big.tif': _tiff(pixels, photometric='rgb', bigtiff=True, compression='lzw'),
        'jpeg.tif': _tiff(pixels, photometric='ycbcr', tile=(16, 16), compression='jpeg'),
        'planes.tif': _tiff(pixels.transpose(2, 0, 1), photometric='rgb', planarconfig='separate', compression='zlib'),
        'palette.tif': _tiff(pixels[..., 0], photometric='palette', colormap=np.zeros((3, 256), np.uint16)),
        'imagej.tif': _tiff(pixels, imagej=True, photometric='rgb', metadata={'unit': 'micron'}),
        'ome.tif': _tiff(pixels, ome=True, photometric='rgb', metadata=sizes, tile=(16, 16), compression='zlib'),
        'aperio.svs': _tiff(pixels, photometric='rgb', tile=(16, 16), description='Aperio x|MPP = 0.5', metadata=None),
        'a.png': imagecodecs.png_encode(pixels),
        'a.jpg': _jpeg(pixels),
    }
    return [Parser(f'slide {name}', name, data, _parse_slide) for name, data in files.items()]


def _microscope_files() -> list[Parser]:
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
    small = pixels[:50, :60]
    writers = {
        'a.czi': lambda path: write_czi(path, {0: small}),
        'a.nd2': lambda path: write_nd2(path, [small]),
        'a.lif': lambda path: write_lif(path, {'a': small}),
        'a.ndpi': lambda path: write_ndpi(path, pixels[:64, :64]),
        'a.bif': lambda path: write_bif(path, pixels // 64 * 64, compression='zlib'),
        'philips.tif': lambda path: write_philips(path, pixels[:300, :300] // 64 * 64, compression='zlib'),
    }
    parsers = []
    with tempfile.TemporaryDirectory() as folder:
        for name, write in writers.items():
            with contextlib.suppress(ImportError):  # the extra `formats`
                write(Path(folder, name))
                parsers.append(Parser(f'slide {name}', name, Path(folder, name).read_bytes(), _parse_slide))
    return parsers


def _parse_slide(path: Path) -> object:
    with open_slide(path) as slide:
        _ = slide.mpp
        width, height = min(slide.width_px, 300), min(slide.height_px, 300)
        small = slide_thumbnail(slide, 16) if slide.width_px * slide.height_px < 10**6 else None
        return slide.read(0, 0, width, height), small


def _roi(roi: ImagejRoi, spline: bool = False) -> bytes:
    roi.options |= ROI_OPTIONS.SPLINE_FIT if spline else 0
    roi.name = 'cell'
    return roi.tobytes()


def _composite() -> bytes:
    roi = ImagejRoi(roitype=ROI_TYPE.RECT, left=3, top=4, right=20, bottom=30)
    path = []
    for ring in (CELL.exterior, *CELL.interiors):
        points = np.array(ring.coords)[:-1]
        path.append(np.append(np.column_stack([np.r_[0.0, np.ones(len(points) - 1)], points]).ravel(), 4.0))
    roi.multi_coordinates = np.concatenate(path).astype(np.float32)
    roi.shape_roi_size = len(roi.multi_coordinates)
    return roi.tobytes()


def _geojson() -> bytes:
    features = [
        {
            'type': 'Feature',
            'id': 'PathAnnotationObject',
            'geometry': shapely.geometry.mapping(shape) | {'plane': {'c': -1, 'z': 0, 't': 0}},
            'properties': {
                'objectType': 'annotation',
                'name': 'c',
                'classification': {'name': 'Osteoclast', 'color': [1, 2, 3]},
                'measurements': {'Area um^2': 9.0},
            },
        }
        for shape in (CELL, shapely.MultiPolygon([OTHER, shapely.box(40, 40, 44, 44)]))
    ]
    return json.dumps({'type': 'FeatureCollection', 'features': features}).encode()


def _dataset() -> dict:
    annotations = [
        coco_annotation(1, 1, CELL, attributes={'name': 'a'}),
        {**coco_annotation(2, 1, OTHER), **mask_annotation(CellMask.of(OTHER, (60, 50)), 50, 60)},
        coco_annotation(3, 1, OTHER, ignored=True),
    ]
    return {
        'info': {'noise_mm': 'x'},
        'images': [{'id': 1, 'file_name': 'images/w_0_0.png', 'width': 60, 'height': 50}],
        'categories': [{'id': 1, 'name': 'osteoclast'}, {'id': 2, 'name': 'nucleus'}],
        'annotations': annotations,
    }


def _labels() -> np.ndarray:
    labels = np.zeros((50, 60), np.uint8)
    labels[4:30, 3:20], labels[5:20, 30:50] = 1, 2
    return labels


def _tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    options = {'photometric': 'minisblack', **options}
    tifffile.imwrite(file, np.ascontiguousarray(pixels), **options)
    return file.getvalue()


def _jpeg(pixels: np.ndarray) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(file, 'JPEG', exif=exif, dpi=(2540, 2540))
    return file.getvalue()


def _zip(entries: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()
