"""A file is cleaned and loaded: the import lines are others."""

from argparse import ArgumentParser

import polars as pl
from shop.models import Product

from async_commander.contrib.compat.winidjango import CleaningDF, ImportDataBaseCommand


class ProductCleaningDF(CleaningDF):
    NAME_COL = "name"
    PRICE_COL = "price"
    SKU_COL = "sku"

    @classmethod
    def get_col_dtype_map(cls):
        return {cls.NAME_COL: pl.Utf8, cls.PRICE_COL: pl.Float64, cls.SKU_COL: pl.Utf8}

    @classmethod
    def get_no_null_cols(cls):
        return (cls.NAME_COL, cls.SKU_COL)

    @classmethod
    def get_unique_subsets(cls):
        return ((cls.SKU_COL,),)


class Command(ImportDataBaseCommand):
    """Import products from CSV with automatic cleaning."""

    def add_command_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--file", type=str, required=True)
        parser.add_argument("--category-id", type=int, required=True)

    def handle_import(self):
        return pl.read_csv(self.get_option("file"))

    def get_cleaning_df_cls(self):
        return ProductCleaningDF

    def get_bulks_by_model(self, df):
        category_id = self.get_option("category_id")
        products = [
            Product(name=row["name"], price=row["price"], sku=row["sku"], category_id=category_id)
            for row in df.iter_rows(named=True)
        ]
        return {Product: products}
